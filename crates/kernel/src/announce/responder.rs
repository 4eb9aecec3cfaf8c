//! Who answers for virtual addresses.
//!
//! Guarantees: as [`crate::announce`] says. Leaves out: announcing; see [`super::Announcer`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sortie_core::model::DeviceName;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use super::desk::{Desk, Heard, Ledger};
use super::groups::Groups;
use super::link::{Link, Links};
use super::ndp::solicited_node;
use super::port::Port;
use crate::KernelError;

/// How many questions were answered since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// ARP requests and probes.
    pub arp: u64,
    /// Neighbour solicitations.
    pub ndp: u64,
}

/// Answers for addresses in the network namespace it is used in. Clones share everything; the answering ends with
/// the last one.
#[derive(Clone, Default)]
pub struct Responder {
    ledger: Arc<Ledger>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    wanted: BTreeMap<DeviceName, BTreeSet<IpAddr>>,
    posts: BTreeMap<DeviceName, Post>,
}

/// A device that is being answered on.
struct Post {
    desk: Arc<Desk>,
    groups: Groups,
    readers: [JoinHandle<()>; 2],
}

impl Responder {
    /// Answers for nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers from now on for these addresses, each on its device, and for no others. A device without addresses stands
    /// ready, so that the first one is answered for at once. Returns whether everything is answered for already; if not,
    /// and for the rest of what an address needs, [`Responder::refresh`] has to follow. Asks nothing of the kernel, which
    /// others may keep busy: it takes some ten milliseconds to place a packet socket.
    #[must_use = "what is not answered for yet is not to be announced"]
    pub fn set(&self, wanted: BTreeMap<DeviceName, BTreeSet<IpAddr>>) -> bool {
        let mut state = self.lock();
        state.posts.retain(|device, _| wanted.contains_key(device));
        for (device, post) in &state.posts {
            post.desk.own(wanted[device].iter().copied());
        }
        let is_answered =
            wanted.iter().all(|(device, addresses)| addresses.is_empty() || state.posts.contains_key(device));
        state.wanted = wanted;
        is_answered
    }

    /// Opens what [`Responder::set`] wanted and looks at the devices again: to be called after it, and when one appeared,
    /// went, was renamed or changed its address or state. Any number of times; must be called inside a tokio runtime and
    /// in the namespace of the devices. Returns what could not be done, with the device's name; the rest is done, and the
    /// next call tries again. Blocks for some milliseconds per thousand new addresses.
    #[must_use = "devices that are not served are reported here"]
    pub fn refresh(&self) -> Vec<KernelError> {
        self.lock().reconcile(&self.ledger)
    }

    /// How many questions were answered.
    #[must_use]
    pub fn answers(&self) -> Answers {
        Answers { arp: self.ledger.arp.load(Ordering::Relaxed), ndp: self.ledger.ndp.load(Ordering::Relaxed) }
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Heard> {
        self.ledger.heard.subscribe()
    }

    /// The device as it is being answered on.
    pub(super) fn desk(&self, device: &DeviceName) -> Option<Arc<Desk>> {
        self.lock().posts.get(device).map(|post| Arc::clone(&post.desk))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reconcile(&mut self, ledger: &Arc<Ledger>) -> Vec<KernelError> {
        let wanted = &self.wanted;
        if wanted.is_empty() {
            return Vec::new();
        }
        let links = match Links::read() {
            Ok(links) => links,
            Err(error) => return vec![error],
        };
        let mut errors = Vec::new();
        for (device, addresses) in wanted {
            let served = links.find(device).and_then(|link| serve(&mut self.posts, (device, link), ledger));
            let outcome = match served {
                Ok(post) => post.set(addresses),
                Err(error) => {
                    self.posts.remove(device);
                    Err(error)
                }
            };
            errors.extend(outcome.err());
        }
        errors
    }
}

/// The post on a device as it is now; one that was opened before the device changed is replaced.
fn serve<'a>(
    posts: &'a mut BTreeMap<DeviceName, Post>,
    (device, link): (&DeviceName, Link),
    ledger: &Arc<Ledger>,
) -> Result<&'a mut Post, KernelError> {
    use std::collections::btree_map::Entry;
    match posts.entry(device.clone()) {
        Entry::Occupied(entry) if entry.get().desk.port.link.is_same(&link) => Ok(entry.into_mut()),
        Entry::Occupied(mut entry) => {
            entry.insert(Post::open(device, link, ledger)?);
            Ok(entry.into_mut())
        }
        Entry::Vacant(entry) => Ok(entry.insert(Post::open(device, link, ledger)?)),
    }
}

impl Post {
    fn open(device: &DeviceName, link: Link, ledger: &Arc<Ledger>) -> Result<Self, KernelError> {
        let desk = Arc::new(Desk::new(Port::open(device, link)?, Arc::clone(ledger)));
        let readers = [tokio::spawn(Arc::clone(&desk).serve_arp()), tokio::spawn(Arc::clone(&desk).serve_discovery())];
        Ok(Self { desk, groups: Groups::new(link.index), readers })
    }

    fn set(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), KernelError> {
        self.desk.own(addresses.iter().copied());
        let groups = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(solicited_node(*address)),
        });
        self.groups.set(&groups.collect()).map_err(|source: io::Error| KernelError::System {
            operation: "join multicast group on",
            object: self.desk.port.device.to_string(),
            source,
        })
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        // The tasks end a little later.
        self.desk.own(std::iter::empty());
        for reader in &self.readers {
            reader.abort();
        }
    }
}
