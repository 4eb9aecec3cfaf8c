//! The directory of CNI configuration, read and changed.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sortie_core::cni::INPUT_MAX;
use sortie_core::cni::install::{Change, Files, Outcome, is_configuration};

use super::place::{self, New};

/// Mode of a file that was not there, as the benchmarks for hardened nodes want it.
const MODE: u32 = 0o600;
/// A file that cannot be read may be half written: it is read again after this time.
const HALF_WRITTEN: Duration = Duration::from_millis(200);
/// How often the directory may change under our hands before we give up.
const ATTEMPTS: u32 = 20;

/// Every file that runtimes look at.
pub(crate) fn read(dir: &Path) -> anyhow::Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(dir).with_context(|| format!("--cni-conf-dir {}", dir.display()))? {
        let Ok(name) = entry.with_context(|| format!("read {}", dir.display()))?.file_name().into_string() else {
            continue;
        };
        if is_configuration(&name) && !dir.join(&name).is_dir() {
            files.extend(content(&dir.join(&name))?.map(|text| (name, text)));
        }
    }
    Ok(files)
}

/// What a file holds; one byte more than anybody accepts if it is too long.
fn content(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let too_long = || fs::metadata(path).is_ok_and(|found| found.len() > INPUT_MAX as u64);
    if too_long() {
        return Ok(Some(vec![b' '; INPUT_MAX + 1]));
    }
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Decides and changes until nobody interfered; and whether something was changed.
pub(super) fn settle(dir: &Path, decide: impl Fn(&Files) -> Outcome) -> anyhow::Result<(Outcome, bool)> {
    let mut changed = false;
    for _ in 0..ATTEMPTS {
        let files = read(dir)?;
        let outcome = decide(&files);
        if !outcome.refused.is_empty() {
            thread::sleep(HALF_WRITTEN);
            if read(dir)? != files {
                continue;
            }
        }
        let mut raced = false;
        for change in &outcome.changes {
            let done = apply(dir, change)?;
            (changed, raced) = (changed || done, raced || !done);
        }
        if !raced {
            return Ok((outcome, changed));
        }
    }
    bail!("--cni-conf-dir {}: changes without end; stop the program that rewrites it", dir.display())
}

/// Whether the file was still as the decision found it, and is changed now.
fn apply(dir: &Path, change: &Change) -> anyhow::Result<bool> {
    let path = dir.join(&change.file);
    let like = match fs::symlink_metadata(&path) {
        Ok(found) if !found.is_file() => {
            bail!("{}: is no regular file; give its directory as --cni-conf-dir, or copy it here", path.display())
        }
        found => found.ok(),
    };
    let is_as_before = || content(&path).map(|now| now == change.before);
    let Some(after) = &change.after else {
        let done = is_as_before()? && place::remove(dir, &change.file)?;
        log::info!("removed file={} done={done}", path.display());
        return Ok(done);
    };
    let new = New { name: &change.file, content: after.as_bytes(), mode: MODE, like };
    let done = place::put(dir, &new, is_as_before)?;
    log::info!("rewritten file={} done={done}", path.display());
    Ok(done)
}
