//! A cluster in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sortie_peer::{Key, MemberEvent, Membership, Setup, Tuning};

enum Action {
    Wake(u16),
    Deliver { from: u16, to: u16, bytes: Vec<u8> },
}

/// What a node sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
}

/// An event of one node.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) event: MemberEvent,
}

pub(crate) struct Network {
    pub(crate) now: Instant,
    pub(crate) nodes: BTreeMap<u16, Membership>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) sent: BTreeMap<u16, Sent>,
    /// Share of datagrams that get lost.
    pub(crate) loss: f64,
    /// Pairs (from, to) that nothing passes between.
    pub(crate) cut: BTreeSet<(u16, u16)>,
    actions: BTreeMap<(Instant, u64), Action>,
    woken: BTreeMap<u16, Instant>,
    added: u64,
    random: SmallRng,
    addresses: BTreeMap<u16, IpAddr>,
}

fn address(node: u16) -> IpAddr {
    let [high, low] = node.to_be_bytes();
    Ipv4Addr::new(10, 0, high, low).into()
}

impl Network {
    /// `size` nodes, numbered from 1, started within one probe period.
    pub(crate) fn start(size: u16, seed: u64) -> Self {
        let now = Instant::now();
        let mut network = Self {
            now,
            nodes: BTreeMap::new(),
            seen: Vec::new(),
            sent: BTreeMap::new(),
            loss: 0.0,
            cut: BTreeSet::new(),
            actions: BTreeMap::new(),
            woken: BTreeMap::new(),
            added: 0,
            random: SmallRng::seed_from_u64(seed),
            addresses: (1..=size).map(|node| (node, address(node))).collect(),
        };
        for node in 1..=size {
            network.boot(node);
            let pause = Duration::from_micros(100_000 / u64::from(size));
            network.run(pause);
        }
        network
    }

    /// Starts `node`, again if it ran before.
    pub(crate) fn boot(&mut self, node: u16) {
        self.added += 1;
        let setup = Setup {
            node,
            incarnation: self.added,
            key: Key::new(&[1; 32]).unwrap(),
            seed: self.random.random(),
            tuning: Tuning::default(),
        };
        let mut membership = Membership::new(setup, self.now);
        membership.set_peers(self.now, self.addresses.clone());
        self.nodes.insert(node, membership);
        self.drain(node);
    }

    pub(crate) fn crash(&mut self, node: u16) {
        self.nodes.remove(&node);
        self.woken.remove(&node);
    }

    /// Has `node` do something.
    pub(crate) fn with(&mut self, node: u16, act: impl FnOnce(&mut Membership, Instant)) {
        let now = self.now;
        act(self.nodes.get_mut(&node).unwrap(), now);
        self.drain(node);
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(entry) = self.actions.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), action) = entry.remove_entry();
            self.now = self.now.max(at);
            self.act(action);
        }
        self.now = end;
    }

    /// Runs until `holds`, at most for `limit`; the time it took.
    pub(crate) fn until(&mut self, limit: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let began = self.now;
        while !holds(self) {
            assert!(self.now - began < limit, "not within {limit:?}");
            self.run(Duration::from_millis(5));
        }
        self.now - began
    }

    /// Whether every running node takes exactly the other running ones for up.
    pub(crate) fn agrees(&self) -> bool {
        let size = self.nodes.len();
        self.nodes
            .values()
            .all(|node| node.up().len() + 1 == size && node.up().iter().all(|n| self.nodes.contains_key(n)))
    }

    fn act(&mut self, action: Action) {
        let now = self.now;
        let node = match action {
            Action::Wake(node) => {
                self.woken.remove(&node);
                let Some(membership) = self.nodes.get_mut(&node) else { return };
                membership.handle_timer(now);
                node
            }
            Action::Deliver { from, to, bytes } => {
                let Some(membership) = self.nodes.get_mut(&to) else { return };
                membership.handle_datagram(now, address(from), &bytes);
                to
            }
        };
        self.drain(node);
    }

    fn drain(&mut self, node: u16) {
        let membership = self.nodes.get_mut(&node).unwrap();
        let datagrams: Vec<_> = std::iter::from_fn(|| membership.poll_datagram()).collect();
        let events = std::iter::from_fn(|| membership.poll_event());
        let told = events.filter(|event| !matches!(event, MemberEvent::Heard(..)));
        self.seen.extend(told.map(|event| Seen { at: self.now, event }));
        let deadline = membership.next_deadline();
        for datagram in datagrams {
            let IpAddr::V4(to) = datagram.to else { unreachable!() };
            let to = u16::from_be_bytes([to.octets()[2], to.octets()[3]]);
            self.carry(node, to, datagram.bytes);
        }
        if let Some(deadline) = deadline.filter(|deadline| self.woken.get(&node).is_none_or(|woken| deadline < woken)) {
            self.woken.insert(node, deadline);
            self.add(deadline, Action::Wake(node));
        }
    }

    fn carry(&mut self, from: u16, to: u16, bytes: Vec<u8>) {
        let sent = self.sent.entry(from).or_default();
        sent.datagrams += 1;
        sent.bytes += bytes.len() as u64;
        if self.random.random_bool(self.loss) || self.cut.contains(&(from, to)) {
            return;
        }
        let delay = Duration::from_micros(self.random.random_range(100..1000));
        self.add(self.now + delay, Action::Deliver { from, to, bytes });
    }

    fn add(&mut self, at: Instant, action: Action) {
        self.added += 1;
        self.actions.insert((at, self.added), action);
    }
}
