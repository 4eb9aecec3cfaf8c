//! Answering on one device.
//!
//! Guarantees: whether an address is owned is decided under the lock that [`Desk::own`] takes, and the answer is sent
//! before it is given back; so nothing is answered for an address that was taken away. Leaves out: groups, and which
//! device it is.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use super::answer::{self, Reaction};
use super::ethernet::Mac;
use super::port::{Channel, FRAME, Port, is_away};

/// Answers of neighbours that may wait to be looked at; more are lost, and asked for again.
const HEARD: usize = 8192;
/// A socket that fails in an unknown way is not read in a tight loop.
const PAUSE: Duration = Duration::from_secs(1);

/// A neighbour answered a question from an owned address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) address: IpAddr,
    pub(super) neighbour: IpAddr,
    pub(super) mac: Mac,
}

/// What follows from a frame for the owner of a link-layer address, given who is owned.
type Judge = fn(&[u8], Mac, &dyn Fn(IpAddr) -> bool) -> Option<Reaction>;

/// What all desks report to.
pub(super) struct Ledger {
    pub(super) arp: AtomicU64,
    pub(super) ndp: AtomicU64,
    pub(super) heard: broadcast::Sender<Heard>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { arp: AtomicU64::new(0), ndp: AtomicU64::new(0), heard: broadcast::Sender::new(HEARD) }
    }
}

/// The addresses of one device and who answers for them.
pub(super) struct Desk {
    pub(super) port: Port,
    owned: Mutex<HashSet<IpAddr>>,
    ledger: Arc<Ledger>,
}

impl Desk {
    pub(super) fn new(port: Port, ledger: Arc<Ledger>) -> Self {
        Self { port, owned: Mutex::default(), ledger }
    }

    /// From now on answers for exactly these.
    pub(super) fn own(&self, addresses: impl Iterator<Item = IpAddr>) {
        let addresses = addresses.collect();
        *self.lock() = addresses;
    }

    /// Answers ARP until dropped.
    pub(super) async fn serve_arp(self: Arc<Self>) {
        let react = |frame: &[u8]| self.react(frame, &self.ledger.arp, answer::to_arp);
        self.serve(&self.port.arp, react).await;
    }

    /// Answers neighbour discovery until dropped.
    pub(super) async fn serve_discovery(self: Arc<Self>) {
        let react = |frame: &[u8]| self.react(frame, &self.ledger.ndp, answer::to_discovery);
        self.serve(&self.port.discovery, react).await;
    }

    async fn serve(&self, channel: &Channel, react: impl Fn(&[u8])) {
        let mut buffer = [0; FRAME];
        loop {
            match channel.receive(&mut buffer).await {
                Ok(length) => react(&buffer[..length]),
                Err(error) if is_away(&error) => {}
                Err(error) => {
                    log::warn!("frames cannot be read device={} error={error}", self.port.device);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn react(&self, frame: &[u8], answers: &AtomicU64, reaction: Judge) {
        let owned = self.lock();
        match reaction(frame, self.port.mac(), &|address| owned.contains(&address)) {
            Some(Reaction::Answer(frame)) => count(answers, self.port.send(&frame)),
            Some(Reaction::Heard { address, neighbour, mac }) => {
                // Nobody listens unless addresses are announced.
                let _ = self.ledger.heard.send(Heard { address, neighbour, mac });
            }
            None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<IpAddr>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asked and got no answer asks again.
fn count(answers: &AtomicU64, sent: io::Result<()>) {
    match sent {
        Ok(()) => drop(answers.fetch_add(1, Ordering::Relaxed)),
        Err(error) => log::debug!("answer not sent error={error}"),
    }
}
