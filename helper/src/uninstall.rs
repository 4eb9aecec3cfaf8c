//! `uninstall`: everything of ours goes, and what remains is named.
//!
//! Guarantees: nothing happens while a helper runs; foreign state and files stay; with the directories of the CNI the
//! entry goes first, and the plugin last. Leaves out: entries written by hand, and this program itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use sortie_core::plan::{nothing, plan};
use sortie_core::state::Step;
use sortie_kernel::{Linux, Platform};

use crate::cli::{Afterwards, NodeOptions, UninstallOptions};
use crate::node::brief;
use crate::{install, lock, logging};

/// Files of the state directory.
const STATE_FILES: [&str; 6] =
    ["allocation.json", "sysctl.json", "departed.json", "dead-hops.json", "ownership.json", "lock"];
/// Files of the data directory.
const DATA_FILES: [&str; 4] = ["tables", "interest", "world.json", "addresses.json"];

/// Removes everything of one helper.
pub(crate) fn uninstall(options: &UninstallOptions) -> anyhow::Result<()> {
    let place = &options.place;
    logging::start(place.log_level, place.log_file.as_deref())?;
    remove(options)?;
    log::info!("uninstalled state_dir={}", place.state_dir.display());
    if options.afterwards == Afterwards::Wait {
        install::ended().context("wait for SIGTERM")?;
    }
    Ok(())
}

fn remove(options: &UninstallOptions) -> anyhow::Result<()> {
    let lock = lock::take(&options.place.state_dir)?;
    let cni = options.cni_conf_dir.as_deref().map(install::remove_entry).transpose()?;
    remove_state(&options.place)?;
    if let Some(dir) = &options.cni_bin_dir {
        install::remove_plugin(dir)?;
    }
    drop((cni, lock));
    Ok(())
}

fn remove_state(options: &NodeOptions) -> anyhow::Result<()> {
    lock::clear_socket(&options.socket)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start runtime")?;
    let left = runtime.block_on(async {
        let mut linux = Linux::open(options.numbers, options.state_dir.join("sysctl.json"))?;
        clear(&mut linux, options.numbers.ct_mark.0).await
    })?;
    if !left.is_empty() {
        bail!("residue in the kernel, files are kept: {}", left.join("; "));
    }
    remove_files(options)
}

/// What is left of us in the kernel afterwards.
async fn clear<P: Platform>(platform: &mut P, path_mask: u32) -> anyhow::Result<Vec<String>> {
    let nothing = nothing(path_mask);
    let steps = plan(&platform.observe().await?, &nothing);
    for step in &steps {
        if let Err(error) = platform.apply(step).await {
            log::error!("cannot be undone step=\"{}\" error={}", brief(step), crate::node::chain(&error));
        }
    }
    let left = plan(&platform.observe().await?, &nothing);
    Ok(left.iter().filter(|s| !matches!(s, Step::PurgeConntrack(_))).map(brief).collect())
}

fn remove_files(options: &NodeOptions) -> anyhow::Result<()> {
    let attachments = options.state_dir.join("attachments");
    remove_all_in(&attachments)?;
    remove_dir(&attachments)?;
    for (dir, names) in [(&options.data_dir, &DATA_FILES[..]), (&options.state_dir, &STATE_FILES[..])] {
        for path in entries(dir)? {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if names.iter().any(|ours| is_of(&name, ours)) || name.starts_with(crate::store::NEW) {
                remove_file(&path)?;
            }
        }
    }
    if let Some(parent) = options.socket.parent() {
        let _ = fs::remove_dir(parent);
    }
    [&options.data_dir, &options.state_dir].into_iter().try_for_each(|dir| remove_dir(dir))
}

/// The file itself, or a corrupt one that was moved aside.
fn is_of(name: &str, ours: &str) -> bool {
    name.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with(".corrupt-"))
}

fn remove_all_in(dir: &Path) -> anyhow::Result<()> {
    entries(dir)?.iter().try_for_each(|path| remove_file(path))
}

fn entries(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| !p.is_dir()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", dir.display())),
    }
}

fn remove_file(path: &Path) -> anyhow::Result<()> {
    fs::remove_file(path).with_context(|| format!("remove {}", path.display()))
}

/// A directory that is not empty holds something of somebody else.
fn remove_dir(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
