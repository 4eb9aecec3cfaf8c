//! Entering a network namespace.
//!
//! Guarantees: only the calling thread changes. Leaves out: coming back; use a thread of its own.

use std::fs::File;
use std::path::Path;

use nix::sched::{CloneFlags, setns};

use crate::KernelError;

/// Moves the calling thread into the network namespace at `path` (`/var/run/netns/NAME`, `/proc/PID/ns/net`).
///
/// # Errors
/// When the path cannot be opened, is not a network namespace or CAP_SYS_ADMIN is missing.
pub fn enter(path: &Path) -> Result<(), KernelError> {
    let error = |source| KernelError::System {
        operation: "enter network namespace",
        object: path.display().to_string(),
        source,
    };
    let file = File::open(path).map_err(error)?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| error(errno.into()))
}
