//! Which changes were made by us.
//!
//! Guarantees: a notification carries the netlink port of the socket that caused it; ports of our sockets
//! and of our running `nft` children are known here before any of them can commit. Leaves out: changes by
//! the plugin, which are other processes' and are looked at.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Children whose transaction changed nothing are never announced; only so many are remembered.
const CHILDREN_MAX: usize = 64;

/// Netlink ports of ours, shared between those who change and those who watch.
#[derive(Clone, Debug, Default)]
pub struct Own(Arc<Mutex<Ports>>);

#[derive(Debug, Default)]
struct Ports {
    sockets: BTreeSet<u32>,
    children: VecDeque<u32>,
}

impl Own {
    /// With these sockets.
    pub(crate) fn of(sockets: impl IntoIterator<Item = u32>) -> Self {
        let ports = Ports { sockets: sockets.into_iter().collect(), children: VecDeque::new() };
        Self(Arc::new(Mutex::new(ports)))
    }

    /// A socket whose changes are ours, too.
    pub(crate) fn add_socket(&self, port: u32) {
        self.lock().sockets.insert(port);
    }

    /// A child that will commit through a socket of its own, whose port is its process id
    /// (`netlink_autobind` in the kernel).
    pub(crate) fn add_child(&self, process: u32) {
        let mut ports = self.lock();
        if ports.children.len() == CHILDREN_MAX {
            ports.children.pop_front();
        }
        ports.children.push_back(process);
    }

    /// A child that committed (its last notification was seen) or failed.
    pub(crate) fn forget_child(&self, process: u32) {
        self.lock().children.retain(|child| *child != process);
    }

    /// Whether a change that carries this port was ours.
    pub(crate) fn contains(&self, port: u32) -> bool {
        let ports = self.lock();
        ports.sockets.contains(&port) || ports.children.contains(&port)
    }

    fn lock(&self) -> MutexGuard<'_, Ports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_remembered_until_they_are_forgotten_or_too_many() {
        let own = Own::of([7]);
        own.add_child(100);
        assert!(own.contains(7) && own.contains(100) && !own.contains(101));
        own.forget_child(100);
        assert!(!own.contains(100));
        (0..200).for_each(|pid| own.add_child(1000 + pid));
        assert!(!own.contains(1000) && own.contains(1199) && own.contains(7));
    }
}
