//! One helper per state directory, one listener per socket.
//!
//! Guarantees: a second helper, and a socket that is somebody else's, are refused before anything is
//! touched. Leaves out: helpers in other network namespaces with directories of their own.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Held as long as the helper lives; the kernel releases it with the process.
#[derive(Debug)]
pub(crate) struct StateLock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Why the helper may not start here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("--state-dir {0}: another helper uses it; stop that one or give this one a directory of its own")]
    Held(PathBuf),
    #[error("--socket {0}: another helper listens there; stop that one or give this one a socket of its own")]
    Listening(PathBuf),
    #[error("--socket {0}: exists and is not a socket of user {1}; remove it or choose another path")]
    Foreign(PathBuf, u32),
    #[error("{action} {path}")]
    File { action: &'static str, path: PathBuf, source: io::Error },
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LockError {
    move |source| LockError::File { action, path: path.to_owned(), source }
}

/// Creates a directory for root only, with its parents.
pub(crate) fn ensure_dir(path: &Path) -> Result<(), LockError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file("create directory", path))
}

/// Takes the state directory, creating it if need be.
pub(crate) fn take(state_dir: &Path) -> Result<StateLock, LockError> {
    ensure_dir(state_dir)?;
    let path = state_dir.join("lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let lock = open.map_err(file("open", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(StateLock(lock)),
        Err(TryLockError::WouldBlock) => Err(LockError::Held(state_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(file("lock", &path)(source)),
    }
}

/// Makes room for our socket: a dead one of ours is removed, anything else is refused.
pub(crate) fn clear_socket(path: &Path) -> Result<(), LockError> {
    if let Some(parent) = path.parent() {
        ensure_dir(parent)?;
    }
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(file("inspect", path)(error)),
    };
    let us = nix::unistd::geteuid().as_raw();
    if !found.file_type().is_socket() || found.uid() != us {
        return Err(LockError::Foreign(path.to_owned(), us));
    }
    if UnixStream::connect(path).is_ok() {
        return Err(LockError::Listening(path.to_owned()));
    }
    fs::remove_file(path).map_err(file("remove", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_second_helper_on_one_state_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path()).unwrap();
        assert!(matches!(take(dir.path()), Err(LockError::Held(_))));
        drop(first);
        take(dir.path()).unwrap();
    }

    #[test]
    fn only_a_dead_socket_of_ours_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("helper.sock");
        clear_socket(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        assert!(matches!(clear_socket(&path), Err(LockError::Listening(_))));
        drop(listener);
        clear_socket(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        assert!(matches!(clear_socket(&path), Err(LockError::Foreign(..))));
    }

    #[test]
    fn a_socket_of_another_user_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("helper.sock");
        drop(UnixListener::bind(&path).unwrap());
        std::os::unix::fs::chown(&path, Some(4242), None).unwrap();
        assert!(matches!(clear_socket(&path), Err(LockError::Foreign(..))));
        assert!(path.exists());
    }
}
