//! Files put into somebody else's directory.
//!
//! Guarantees: a file is either the old or the new one, also after a power cut; runtimes see one rename.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use anyhow::Context as _;

/// Beginning of the name of a file that is being written; runtimes look at no such name.
const NEW: &str = ".sortie-install-";

/// A file to be put in place.
pub(super) struct New<'a> {
    pub(super) name: &'a str,
    pub(super) content: &'a [u8],
    pub(super) mode: u32,
    /// Whose mode and owner it is to have instead.
    pub(super) like: Option<Metadata>,
}

/// Writes it, asks whether it may be put in place still, and does.
pub(super) fn put(dir: &Path, new: &New<'_>, may: impl FnOnce() -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    let path = dir.join(new.name);
    let about = || format!("write {}; the directory must be there and writable for root", path.display());
    let mut file = tempfile::Builder::new().prefix(NEW).tempfile_in(dir).with_context(about)?;
    file.write_all(new.content).with_context(about)?;
    if let Some(like) = &new.like {
        let own = file.as_file().metadata().with_context(about)?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            fchown(file.as_file(), Some(like.uid()), Some(like.gid())).with_context(about)?;
        }
    }
    let mode = new.like.as_ref().map_or(new.mode, |like| like.mode() & 0o7777);
    file.as_file().set_permissions(Permissions::from_mode(mode)).with_context(about)?;
    file.as_file().sync_all().with_context(about)?;
    if !may()? {
        return Ok(false);
    }
    // Closed first: a program that is open for writing cannot be started (`execve(2)`, ETXTBSY).
    file.into_temp_path().persist(&path).map_err(|error| error.error).with_context(about)?;
    sync(dir)?;
    Ok(true)
}

/// Removes a file; one that is gone is no error.
pub(super) fn remove(dir: &Path, name: &str) -> anyhow::Result<bool> {
    match fs::remove_file(dir.join(name)) {
        Ok(()) => sync(dir).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("remove {}", dir.join(name).display())),
    }
}

/// Removes what an installer left that was killed while it wrote.
pub(super) fn tidy(dir: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("read {}", dir.display()))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(NEW)).try_for_each(|name| remove(dir, &name).map(drop))
}

fn sync(dir: &Path) -> anyhow::Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(|| format!("sync {}", dir.display()))
}
