//! What a cluster changes on the whole machine.
//!
//! Guarantees: one cluster at a time, over all processes; values are put back when it ends.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait::poll;

/// Switches that kubelets write, or that we raise.
const SWITCHES: [&str; 6] = [
    INSTANCES,
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];
const INSTANCES: &str = "fs/inotify/max_user_instances";
/// Enough for the kubelets, runtimes and proxies of a few nodes.
const NEEDED: u32 = 1024;
/// How long other clusters may last.
const TURN: Duration = Duration::from_secs(900);

/// The right to run a cluster.
#[derive(Debug)]
pub(super) struct Host {
    before: Vec<(&'static str, String)>,
    // A name without a file: the kernel gives it back also when we are killed.
    _turn: UnixListener,
}

impl Host {
    /// Waits for it.
    ///
    /// # Errors
    /// When another cluster does not end, or a switch cannot be read or written.
    pub(super) fn take() -> Result<Self> {
        let name = SocketAddr::from_abstract_name("sortie-test-cluster").context("cannot name the lock")?;
        let turn = poll(TURN, "the end of another cluster", || UnixListener::bind_addr(&name).ok())?;
        let read = |key: &'static str| {
            std::fs::read_to_string(path(key)).map(|value| (key, value)).with_context(|| format!("cannot read {key}"))
        };
        let before = SWITCHES.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        let host = Self { before, _turn: turn };
        let now = host.before[0].1.trim().parse::<u32>().context("fs.inotify.max_user_instances is no number")?;
        write(INSTANCES, &now.max(NEEDED).to_string())?;
        Ok(host)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for (key, value) in &self.before {
            if std::fs::read_to_string(path(key)).is_ok_and(|now| now == *value) {
                continue;
            }
            if let Err(error) = write(key, value) {
                eprintln!("{error:#}");
            }
        }
    }
}

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

fn write(key: &str, value: &str) -> Result<()> {
    std::fs::write(path(key), value).with_context(|| format!("cannot write {key}"))
}
