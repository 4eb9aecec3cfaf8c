//! `install`: the plugin on the node, and its entry in the configuration of the node's CNI.
//!
//! Guarantees: the plugin is in place before the entry that names it, and answers before it replaces an older one; files
//! are replaced whole, within their directory, as runtimes notice; two installers do not work in one directory. Leaves
//! out: what the configuration means (`sortie_core::cni::install`), and a writer that opened a file before us and writes
//! into it after us, whose change is lost.

mod confs;
mod place;
mod plugin;
mod wait;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use sortie_core::cni::install::{self as core, Outcome};
use sortie_core::doctor::Plugin;
use sortie_core::model::Rejection;

use crate::cli::{InstallOptions, Mode};
use crate::logging;

pub(crate) use confs::read as configuration;
pub(crate) use plugin::remove as remove_plugin;
pub(crate) use wait::ended;

/// What there was to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A configuration that holds our entry now.
    Entry,
    /// No configuration of any CNI.
    NoNetwork,
}

/// Holds a directory of configuration against other installers, as long as it lives.
#[derive(Debug)]
pub(crate) struct DirLock(#[expect(dead_code, reason = "the open directory is the lock")] File);

/// `install`.
///
/// # Errors
/// When plugin or entry cannot be put in place; with `--watch` only when waiting itself fails.
pub(crate) fn install(options: &InstallOptions) -> anyhow::Result<Found> {
    logging::start(options.log_level, options.log_file.as_deref())?;
    match options.mode {
        Mode::Once => once(options),
        Mode::Check => check(options),
        Mode::Watch => wait::watch(options).map(|()| Found::Entry),
    }
}

/// Why `install` ends with [`Found::NoNetwork`].
pub(crate) fn no_network(options: &InstallOptions) -> anyhow::Error {
    let dir = options.conf_dir.display();
    anyhow::anyhow!("--cni-conf-dir {dir}: no CNI has written a configuration yet; install one, or stay with --watch")
}

fn once(options: &InstallOptions) -> anyhow::Result<Found> {
    let _lock = lock(&options.conf_dir)?;
    for dir in [&options.conf_dir, &options.bin_dir] {
        place::tidy(dir)?;
    }
    pass(options).map(|(found, _)| found)
}

/// Plugin, then entry; and whether something had to be changed.
fn pass(options: &InstallOptions) -> anyhow::Result<(Found, bool)> {
    let put = plugin::put(&source(options)?, &options.bin_dir)?;
    let (outcome, changed) = confs::settle(&options.conf_dir, |files| core::install(files, &options.entry))?;
    Ok((found(&outcome, &options.conf_dir)?, put || changed))
}

fn check(options: &InstallOptions) -> anyhow::Result<Found> {
    if !plugin::is_in_place(&source(options)?, &options.bin_dir)? {
        bail!("--cni-bin-dir {}: does not hold the plugin, or another one; run install", options.bin_dir.display());
    }
    let outcome = core::install(&confs::read(&options.conf_dir)?, &options.entry);
    let found = found(&outcome, &options.conf_dir)?;
    match outcome.changes.first() {
        Some(change) => bail!("{}: our entry is not as it should be; run install", change.file),
        None => Ok(found),
    }
}

/// Whether the plugin that lies beside this program is in a directory of plugins.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn plugin_in(dir: &Path) -> anyhow::Result<Plugin> {
    if !dir.join(plugin::NAME).exists() {
        return Ok(Plugin::Missing);
    }
    let source = std::env::current_exe().context("find this program")?.with_file_name(plugin::NAME);
    Ok(if plugin::is_in_place(&source, dir)? { Plugin::Same } else { Plugin::Other })
}

/// Takes the entry out of every configuration, and keeps other installers away.
///
/// # Errors
/// When a file cannot be read or changed, or holds an entry written by hand.
pub(crate) fn remove_entry(dir: &Path) -> anyhow::Result<Option<DirLock>> {
    if !dir.exists() {
        return Ok(None);
    }
    let lock = lock(dir)?;
    place::tidy(dir)?;
    let (outcome, _) = confs::settle(dir, core::uninstall)?;
    if !outcome.refused.is_empty() {
        bail!("--cni-conf-dir {}: {}", dir.display(), joined(&outcome.refused));
    }
    Ok(Some(lock))
}

/// What the outcome means for the node; files that are only in the way are reported.
fn found(outcome: &Outcome, dir: &Path) -> anyhow::Result<Found> {
    if outcome.holder.is_some() {
        outcome.refused.iter().for_each(|refused| log::warn!("left out: {refused}"));
        return Ok(Found::Entry);
    }
    if outcome.refused.is_empty() {
        return Ok(Found::NoNetwork);
    }
    bail!("--cni-conf-dir {}: {}", dir.display(), joined(&outcome.refused))
}

fn joined(refused: &[Rejection]) -> String {
    refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn source(options: &InstallOptions) -> anyhow::Result<PathBuf> {
    match &options.plugin {
        Some(path) => Ok(path.clone()),
        None => Ok(std::env::current_exe().context("find this program")?.with_file_name(plugin::NAME)),
    }
}

fn lock(dir: &Path) -> anyhow::Result<DirLock> {
    let file = File::open(dir).with_context(|| format!("--cni-conf-dir {}", dir.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(DirLock(file)),
        Err(TryLockError::WouldBlock) => {
            bail!("--cni-conf-dir {}: another installer works there; stop it (`install --watch`)", dir.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", dir.display())),
    }
}
