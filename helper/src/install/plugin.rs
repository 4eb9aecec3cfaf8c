//! The plugin among the other plugins of the node.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::place::{self, New};

/// Name of the program, and `type` of its entry.
pub(super) const NAME: &str = "sortie";
const MODE: u32 = 0o755;

/// Puts the plugin in place unless it is there; one that runs goes on as it is.
pub(super) fn put(source: &Path, dir: &Path) -> anyhow::Result<bool> {
    if is_in_place(source, dir)? {
        return Ok(false);
    }
    answers(source)?;
    let content = read(source)?;
    let new = New { name: NAME, content: &content, mode: MODE, like: None };
    place::put(dir, &new, || Ok(true))?;
    log::info!("installed plugin={} bytes={}", dir.join(NAME).display(), content.len());
    Ok(true)
}

/// Whether the directory holds this very plugin.
pub(super) fn is_in_place(source: &Path, dir: &Path) -> anyhow::Result<bool> {
    let there = dir.join(NAME);
    let mode = match fs::metadata(&there) {
        Ok(found) => found.permissions().mode() & 0o7777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("inspect {}", there.display())),
    };
    Ok(mode == MODE && read(&there)? == read(source)?)
}

/// Removes the plugin.
///
/// # Errors
/// When it is there and cannot be removed.
pub(crate) fn remove(dir: &Path) -> anyhow::Result<()> {
    place::tidy(dir)?;
    let removed = place::remove(dir, NAME)?;
    log::info!("plugin removed={removed} dir={}", dir.display());
    Ok(())
}

/// A plugin that does not run would stop every pod of the node.
fn answers(plugin: &Path) -> anyhow::Result<()> {
    let about = || format!("--plugin {}: does not answer VERSION; give the plugin `sortie`", plugin.display());
    let mut command = Command::new(plugin);
    command.env_clear().env("CNI_COMMAND", "VERSION").stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().with_context(about)?;
    let answer: Value = serde_json::from_slice(&output.stdout).with_context(about)?;
    if !output.status.success() || !answer["supportedVersions"].is_array() {
        bail!("{}", about());
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}
