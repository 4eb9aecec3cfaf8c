//! Who is alive, without sockets and clocks.
//!
//! Guarantees: the same inputs, times and seed give the same datagrams and events; a node that stops answering is
//! reported down, one that answers again is reported up; when each peer was last heard is known to the datagram.
//! Leaves out: quorum and ownership. `Up` and `Down` are the cluster's common opinion, [`Membership::heard`] is this
//! node's own.
//!
//! The caller hands in datagrams and the time, then drains [`Membership::poll_datagram`] and
//! [`Membership::poll_event`] and comes back at [`Membership::next_deadline`].

mod close;
mod join;
mod swim;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use foca::{Foca, Timer};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::agenda::Agenda;
use crate::editions::{Edition, News, Shared};
use crate::gate::{Gate, Refusals};
use crate::identity::{Life, Wire};
use crate::key::Key;
use crate::seal::{self, Header, Kind, Refusal, Sender};
use crate::tuning::Tuning;

/// Who this node is.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Node number.
    pub node: u16,
    /// Which run of the helper this is: higher than in every earlier run, or the peers refuse all we say. The start
    /// time in nanoseconds will do where the clock is never set back.
    pub incarnation: u64,
    /// The cluster's key.
    pub key: Key,
    /// Seed of the random choice of whom to probe; any number outside simulations.
    pub seed: u64,
    /// Periods.
    pub tuning: Tuning,
}

/// Longest note, in bytes: it fits into a datagram on any link (RFC 8200 section 5).
pub const NOTE_MAX: usize = 1100;

/// Something to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Where to; the port is the cluster's.
    pub to: IpAddr,
    /// A sealed message.
    pub bytes: Vec<u8>,
}

/// Something learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberEvent {
    /// The node takes part.
    Up(u16),
    /// The node left, or the cluster takes it for dead.
    Down(u16),
    /// An authenticated datagram came from the node itself.
    Heard(u16, Instant),
    /// The node has another claim table.
    TableVersion(u16, Edition),
    /// The node says this; it may come late, not at all, but not twice.
    Note(u16, Arc<[u8]>),
}

#[derive(Debug)]
enum Task {
    Swim(Timer<Life>),
    Heartbeat,
    Join,
}

/// This node's view of the cluster.
pub struct Membership {
    node: u16,
    own: Edition,
    key: Key,
    tuning: Tuning,
    foca: Foca<Life, Wire, SmallRng, Shared>,
    gate: Gate,
    sender: Sender,
    editions: Shared,
    peers: BTreeMap<u16, IpAddr>,
    close: BTreeSet<u16>,
    up: BTreeSet<u16>,
    heard: BTreeMap<u16, Instant>,
    /// The peer that was last asked to let us join.
    asked: u16,
    left: bool,
    agenda: Agenda<Task>,
    datagrams: VecDeque<Datagram>,
    events: VecDeque<MemberEvent>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Membership").field("node", &self.node).field("up", &self.up).finish_non_exhaustive()
    }
}

impl Membership {
    /// A node without peers.
    pub fn new(setup: Setup, now: Instant) -> Self {
        let Setup { node, incarnation, key, seed, tuning } = setup;
        let (life, editions) = (Life { node, life: incarnation }, Shared::default());
        let random = SmallRng::seed_from_u64(seed);
        let mut agenda = Agenda::default();
        agenda.add(now, Task::Heartbeat);
        agenda.add(now + tuning.join, Task::Join);
        Self {
            node,
            own: Edition { incarnation, version: 0 },
            foca: Foca::with_custom_broadcast(life, tuning.config(1), random, Wire, editions.clone()),
            gate: Gate::new(node, key.clone()),
            key,
            tuning,
            sender: Sender::new(node, incarnation),
            editions,
            peers: BTreeMap::new(),
            close: BTreeSet::new(),
            up: BTreeSet::new(),
            heard: BTreeMap::new(),
            asked: node,
            left: false,
            agenda,
            datagrams: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Who the other nodes are; this one may be among them. Whoever is no longer named is reported down and refused.
    pub fn set_peers(&mut self, now: Instant, mut peers: BTreeMap<u16, IpAddr>) {
        peers.remove(&self.node);
        let gone: Vec<_> = self.peers.keys().filter(|node| !peers.contains_key(node)).copied().collect();
        for node in gone {
            self.bury(now, node, Spread::Keep);
        }
        self.gate.set_peers(&peers);
        self.editions.lock().set_nodes(peers.keys().copied().collect());
        self.heard.retain(|node, _| peers.contains_key(node));
        self.peers = peers;
        self.resize();
        if self.up.is_empty() {
            self.join(now);
        }
    }

    /// Who gets a heartbeat each [`Tuning::heartbeat`]: the candidates for the addresses this node is one for. It
    /// works both ways only if they name this node too.
    pub fn set_close_peers(&mut self, nodes: BTreeSet<u16>) {
        self.close = nodes;
    }

    /// Tells the cluster that this node has another claim table; `version` must grow.
    pub fn set_table_version(&mut self, now: Instant, version: u64) {
        self.own.version = version;
        self.spread(now);
        self.greet_close();
    }

    /// Says something to a node, of at most [`NOTE_MAX`] bytes; to one that is no peer it is not sent.
    pub fn send_note(&mut self, node: u16, note: &[u8]) {
        if note.len() <= NOTE_MAX {
            self.send(Kind::Note, node, note);
        }
    }

    /// Takes a datagram from `source`.
    pub fn handle_datagram(&mut self, now: Instant, source: IpAddr, bytes: &[u8]) {
        if self.left {
            return;
        }
        let Ok((header, body)) = self.gate.open(source, bytes) else { return };
        self.heard.insert(header.sender, now);
        self.events.push_back(MemberEvent::Heard(header.sender, now));
        let taken = match header.kind {
            Kind::Swim => self.take_swim(now, &header, body),
            Kind::Editions => self.take_editions(&header, body),
            Kind::Leave => {
                self.bury(now, header.sender, Spread::Tell);
                Ok(())
            }
            Kind::Note => {
                self.events.push_back(MemberEvent::Note(header.sender, body.into()));
                Ok(())
            }
            Kind::Ask | Kind::Answer | Kind::Follow | Kind::Feed => Err(Refusal::Malformed),
        };
        if let Err(refusal) = taken {
            self.gate.count(refusal);
        }
        self.report_editions();
    }

    /// Does what is due.
    pub fn handle_timer(&mut self, now: Instant) {
        while let Some((due, task)) = self.agenda.take_due(now) {
            match task {
                Task::Swim(timer) => self.handle_swim_timer(now, timer),
                Task::Heartbeat => {
                    self.greet_close();
                    self.agenda.add(following(due, self.tuning.heartbeat, now), Task::Heartbeat);
                }
                Task::Join => {
                    self.join_one(now);
                    self.agenda.add(following(due, self.tuning.join, now), Task::Join);
                }
            }
        }
    }

    /// Tells the others, then takes no part any more.
    pub fn leave(&mut self, now: Instant) {
        if self.left {
            return;
        }
        self.say_leave();
        self.leave_swim(now);
        self.agenda.clear();
        self.left = true;
    }

    /// When to call [`Membership::handle_timer`] at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.agenda.next()
    }

    /// The next datagram to send.
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        self.datagrams.pop_front()
    }

    /// The next thing learned.
    pub fn poll_event(&mut self) -> Option<MemberEvent> {
        self.events.pop_front()
    }

    /// When `node` itself was last heard; none while it never was, or since it is no peer.
    pub fn heard(&self, node: u16) -> Option<Instant> {
        self.heard.get(&node).copied()
    }

    /// The nodes that are up, without this one.
    pub const fn up(&self) -> &BTreeSet<u16> {
        &self.up
    }

    /// Where `node` is.
    pub fn address(&self, node: u16) -> Option<IpAddr> {
        self.peers.get(&node).copied()
    }

    /// The latest known edition of `node`'s table.
    pub fn edition(&self, node: u16) -> Option<Edition> {
        self.editions.lock().get(node).map(|news| news.edition)
    }

    /// Refused messages since the start, by reason.
    pub const fn refusals(&self) -> &Refusals {
        self.gate.refusals()
    }

    /// The header of the next message to `node`, for one that goes by stream.
    pub(crate) fn header(&mut self, kind: Kind, node: u16) -> Header {
        self.sender.header(kind, node)
    }

    /// The sender of an authenticated request for this node's table.
    ///
    /// # Errors
    /// The reason it was refused, which is counted.
    pub(crate) fn open_ask(&mut self, source: IpAddr, message: &[u8]) -> Result<Header, Refusal> {
        let (header, _) = self.gate.open(source, message)?;
        match header.kind {
            Kind::Ask | Kind::Follow => Ok(header),
            _ => Err(self.gate.count(Refusal::Malformed)),
        }
    }

    /// Counts a message refused by the one who read it.
    pub(crate) fn count(&mut self, refusal: Refusal) {
        self.gate.count(refusal);
    }

    fn send(&mut self, kind: Kind, node: u16, body: &[u8]) {
        let Some(to) = self.peers.get(&node).copied() else { return };
        let header = self.sender.header(kind, node);
        self.datagrams.push_back(Datagram { to, bytes: seal::seal(&self.key, &header, body) });
    }

    fn own_news(&self) -> News {
        News { node: self.node, edition: self.own }
    }

    fn report_editions(&mut self) {
        let fresh = self.editions.lock().take_fresh();
        self.events.extend(fresh.into_iter().map(|news| MemberEvent::TableVersion(news.node, news.edition)));
    }
}

/// Whether the cluster is told of a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spread {
    Tell,
    Keep,
}

/// A period after `due`, but never in the past: what was missed is not made up for.
fn following(due: Instant, period: std::time::Duration, now: Instant) -> Instant {
    (due + period).max(now)
}

#[cfg(test)]
mod tests;
