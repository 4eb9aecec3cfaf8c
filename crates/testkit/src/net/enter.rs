//! Threads inside namespaces.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// A private set of mounts. It ends with the last value and the last process that uses it.
#[derive(Clone, Debug)]
pub struct Mounts(Arc<File>);

impl Mounts {
    /// A copy of the machine's mounts, changed by `change`; nothing of it is seen outside. Names of namespaces that are
    /// made later are seen inside.
    ///
    /// # Errors
    /// When the kernel refuses; the errors of `change`.
    pub fn new(change: impl FnOnce() -> Result<()> + Send) -> Result<Self> {
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
            let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).context("cannot detach mounts")?;
            change()?;
            let own = File::open("/proc/thread-self/ns/mnt").context("cannot open the mount namespace")?;
            Ok(Self(Arc::new(own)))
        })
    }
}

/// Puts a fresh file system in memory on `path`; for use in [`Mounts::new`]. `options` as in `mount -o`.
///
/// # Errors
/// When the kernel refuses.
pub fn memory(path: &Path, options: &str) -> Result<()> {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options))
        .with_context(|| format!("cannot mount a tmpfs on {}", path.display()))
}

/// Shows `source` at `path`; for use in [`Mounts::new`].
///
/// # Errors
/// When the kernel refuses.
pub fn bind(source: &Path, path: &Path) -> Result<()> {
    mount(Some(source), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("cannot bind {} to {}", source.display(), path.display()))
}

/// Runs `work` on a new thread, because a thread that changed its namespaces is of no other use.
pub(super) fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join().map_err(|_| anyhow!("a thread in a namespace panicked"))?)
}

/// Takes the calling thread into the namespaces. Mounts come first: they decide what `/proc/sys` is seen through.
pub(super) fn enter(net: &File, mounts: Option<&Mounts>) -> Result<()> {
    if let Some(Mounts(mounts)) = mounts {
        unshare(CloneFlags::CLONE_FS)?;
        setns(mounts, CloneFlags::CLONE_NEWNS)?;
    }
    setns(net, CloneFlags::CLONE_NEWNET)?;
    Ok(())
}
