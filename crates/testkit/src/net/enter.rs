//! Threads inside namespaces.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// A private set of mounts, perhaps with process ids of its own. It ends with the last value and the last process that
/// uses it.
#[derive(Clone, Debug)]
pub struct Mounts(Arc<Vec<(File, CloneFlags)>>);

impl Mounts {
    /// A copy of the machine's mounts, changed by `change`; nothing of it is seen outside. Names of namespaces that are
    /// made later are seen inside.
    ///
    /// # Errors
    /// When the kernel refuses; the errors of `change`.
    pub fn new(change: impl FnOnce() -> Result<()> + Send) -> Result<Self> {
        on_thread(|| {
            detach(CloneFlags::empty())?;
            change()?;
            let own = File::open("/proc/thread-self/ns/mnt").context("cannot open the mount namespace")?;
            Ok(Self(Arc::new(vec![(own, CloneFlags::CLONE_NEWNS)])))
        })
    }

    /// What the process `id` sees: its mounts, its host name, its process ids.
    ///
    /// A thread inside can start programs, but no threads: a process has one set of process ids.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn of(id: u32) -> Result<Self> {
        let open = |(name, flag)| {
            let path = format!("/proc/{id}/ns/{name}");
            File::open(&path).map(|file| (file, flag)).with_context(|| format!("cannot open {path}"))
        };
        PROCESS.map(open).into_iter().collect::<Result<Vec<_>>>().map(|files| Self(Arc::new(files)))
    }
}

/// What a process has of its own, in the order in which it is entered.
const PROCESS: [(&str, CloneFlags); 4] = [
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("mnt", CloneFlags::CLONE_NEWNS),
];

/// Gives the calling thread mounts of its own, and what `more` names; what is unmounted outside goes inside, too.
pub(crate) fn detach(more: CloneFlags) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | more).context("cannot make namespaces")?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).context("cannot detach mounts")
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
        for (file, flag) in mounts.iter() {
            setns(file, *flag)?;
        }
    }
    setns(net, CloneFlags::CLONE_NEWNET)?;
    Ok(())
}
