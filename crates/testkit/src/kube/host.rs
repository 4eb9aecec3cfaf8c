//! What a cluster changes on the whole machine.
//!
//! Guarantees: one cluster at a time, over all processes; the one switch that is changed is put back when it ends.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait::poll;

/// How many watchers of files one user may have.
const INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";
/// Enough for the kubelets, runtimes and proxies of a few nodes.
const NEEDED: u32 = 1024;
/// How long other clusters may last.
const TURN: Duration = Duration::from_secs(900);

/// The right to run a cluster.
#[derive(Debug)]
pub(super) struct Host {
    before: String,
    // A name without a file: the kernel gives it back also when we are killed.
    _turn: UnixListener,
}

impl Host {
    /// Waits for it.
    ///
    /// # Errors
    /// When another cluster does not end, or the switch cannot be read or written.
    pub(super) fn take() -> Result<Self> {
        let name = SocketAddr::from_abstract_name("sortie-test-cluster").context("cannot name the lock")?;
        let turn = poll(TURN, "the end of another cluster", || UnixListener::bind_addr(&name).ok())?;
        let before = std::fs::read_to_string(INSTANCES).context("cannot read fs.inotify.max_user_instances")?;
        let now: u32 = before.trim().parse().context("fs.inotify.max_user_instances is no number")?;
        std::fs::write(INSTANCES, now.max(NEEDED).to_string()).context("cannot set fs.inotify.max_user_instances")?;
        Ok(Self { before, _turn: turn })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(INSTANCES, &self.before) {
            eprintln!("fs.inotify.max_user_instances stays: {error}");
        }
    }
}
