//! The simulated cluster: events in the order of true time, peers' network and wire apart.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use sortie_core::ownership::{Action, Config, Identity, Input, NodeNumber, Presence, Reach, Sighting, Table};

use super::faults::Fault;
use super::laws::Laws;
use super::node::{Life, Node};
use super::rng::Rng;

/// More events than any run has that does not spin.
const BUSY: usize = 60_000;

#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Something reaches the helper of a node, in this incarnation.
    Deliver(Input),
    /// A peer's request for the table.
    Serve(usize),
    Tick(u64),
    /// The kernel has carried out a claim.
    Programmed(Identity, u64),
    ProbeEnd(usize),
    /// The membership library looks at a peer.
    Look(usize),
    /// Device and next hop, as the helper learns of them.
    Health,
    Exit,
    Fault(Fault),
}

/// A probe on the wire.
pub(crate) struct Probe {
    node: usize,
    identity: Identity,
    started: sortie_core::ownership::Millis,
    seen: Sighting,
    open: bool,
}

pub(crate) struct Link {
    pub(crate) cut: bool,
    /// Percent.
    pub(crate) loss: u64,
    /// Milliseconds.
    pub(crate) delay: u64,
}

impl Link {
    pub(crate) fn is_whole(&self) -> bool {
        !self.cut && self.loss == 0 && self.delay <= 3
    }
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) configs: BTreeMap<Identity, Config>,
    /// Directed: `[from][to]`.
    pub(crate) links: Vec<Vec<Link>>,
    pub(crate) laws: Laws,
    pub(crate) history: Option<Vec<String>>,
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    events: Vec<Option<(usize, u64, Event)>>,
    probes: Vec<Probe>,
}

impl World {
    pub(crate) fn new(rng: Rng, nodes: Vec<Node>, configs: BTreeMap<Identity, Config>) -> Self {
        let count = nodes.len();
        let row = || (0..count).map(|_| Link { cut: false, loss: 0, delay: 3 }).collect();
        Self {
            now: 0,
            rng,
            laws: Laws::new(configs.len()),
            nodes,
            configs,
            links: (0..count).map(|_| row()).collect(),
            history: None,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            probes: Vec::new(),
        }
    }

    pub(crate) fn schedule(&mut self, delay: u64, node: usize, event: Event) {
        self.queue.push(Reverse((self.now + delay, self.events.len())));
        let incarnation = self.nodes[node].incarnation;
        self.events.push(Some((node, incarnation, event)));
    }

    /// Runs until `end`; the first broken law ends it.
    pub(crate) fn run(&mut self, end: u64) -> Result<(), String> {
        while let Some(Reverse((at, index))) = self.queue.peek().copied().filter(|Reverse((at, _))| *at <= end) {
            self.queue.pop();
            self.now = at;
            if index > BUSY {
                return Err(format!("more than {BUSY} events"));
            }
            let Some((node, incarnation, event)) = self.events[index].take() else { continue };
            self.happen(node, incarnation, event);
            self.watch_wire();
            super::laws::check(self, node)?;
        }
        Ok(())
    }

    pub(crate) fn note(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.history.is_some() {
            let line = format!("{:>5} {}", self.now, text(self));
            self.history.get_or_insert_default().push(line);
        }
    }

    fn happen(&mut self, node: usize, incarnation: u64, event: Event) {
        if let Event::Fault(fault) = event {
            return super::faults::strike(self, fault);
        }
        let (life, current) = (self.nodes[node].life, self.nodes[node].incarnation);
        match life {
            Life::Dead | Life::Off => {}
            Life::Paused => self.nodes[node].inbox.push(event),
            Life::Runs if current == incarnation => self.process(node, event),
            Life::Runs => {}
        }
    }

    pub(crate) fn process(&mut self, node: usize, event: Event) {
        match event {
            Event::Deliver(input) => self.input(node, input),
            Event::Serve(client) => self.serve(node, client),
            Event::Tick(at) => {
                if self.nodes[node].tick_at == Some(at) {
                    self.nodes[node].tick_at = None;
                    self.input(node, Input::Tick);
                }
            }
            Event::Programmed(identity, epoch) => self.program(node, identity, epoch),
            Event::ProbeEnd(probe) => self.end_probe(probe),
            Event::Look(peer) => {
                let presence = if self.sees(node, peer) { Presence::Up } else { Presence::Down };
                self.input(node, Input::Peer(self.nodes[peer].number, presence));
            }
            Event::Health => self.health(node),
            Event::Exit => {
                if self.nodes[node].leaving {
                    self.note(|_| format!("n{node} ends"));
                    self.nodes[node].stop(Life::Dead);
                    self.look_around(150, 400);
                }
            }
            Event::Fault(_) => {}
        }
    }

    /// Membership is symmetric: it needs both directions.
    fn sees(&self, node: usize, peer: usize) -> bool {
        let connected = !self.links[node][peer].cut && !self.links[peer][node].cut;
        connected && self.nodes[peer].life == Life::Runs
    }

    /// Every node finds out within these bounds how its peers are now.
    pub(crate) fn look_around(&mut self, first: u64, last: u64) {
        for node in 0..self.nodes.len() {
            for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
                let delay = self.rng.between(first, last);
                self.schedule(delay, node, Event::Look(peer));
            }
        }
    }

    fn health(&mut self, node: usize) {
        let identities: Vec<Identity> = self.configs.keys().cloned().collect();
        for identity in identities {
            let (device, reach, sent) = {
                let node = &self.nodes[node];
                (node.presence(), node.reach(), node.clock(self.now))
            };
            self.input(node, Input::Device(identity.clone(), device));
            self.input(node, Input::NextHop { identity, sent, reach });
        }
    }

    fn input(&mut self, node: usize, input: Input) {
        let clock = self.nodes[node].clock(self.now);
        let before = self.history.is_some().then(|| format!("{input:?}"));
        let actions = self.nodes[node].machine.handle(clock, input);
        if let Some(text) = before {
            self.note(|_| format!("n{node} <- {text}"));
        }
        self.act_all(node, actions);
    }

    pub(crate) fn act_all(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            self.note(|_| format!("n{node}    -> {action:?}"));
            self.act(node, action);
        }
        let Some(wakeup) = self.nodes[node].machine.next_wakeup() else { return };
        let late = self.rng.between(0, 3);
        let at = self.nodes[node].when(wakeup).max(self.now + 1) + late;
        if self.nodes[node].tick_at.is_none_or(|earlier| at < earlier) {
            self.nodes[node].tick_at = Some(at);
            self.schedule(at - self.now, node, Event::Tick(at));
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        let own = &mut self.nodes[node];
        match action {
            Action::Withdraw { identity, .. } => {
                own.programmed.remove(&identity);
                own.taking.remove(&identity);
                own.handed.remove(&identity);
            }
            Action::RenewLease { until } => own.lease = until,
            Action::Claim { identity, epoch, consent } => {
                own.taking.insert(identity.clone(), epoch);
                let delay = self.rng.between(15, 40);
                self.laws.claimed(node, &identity, consent);
                self.schedule(delay, node, Event::Programmed(identity, epoch));
            }
            Action::Publish { .. } => own.disk = own.machine.table().clone(),
            Action::HandOver { identity, to } => {
                own.handed.entry(identity).or_default().insert(to);
            }
            Action::Send(to, message) => {
                let from = own.number;
                self.send(node, to, Event::Deliver(Input::Message(from, message)));
            }
            Action::Fetch(from) => self.send(node, from, Event::Serve(node)),
            Action::ProbeOnWire { identity, started } => self.probe(node, identity, started),
            Action::ProbeNextHop(identity) => self.probe_next_hop(node, identity),
            Action::Conflict(_) => {}
        }
    }

    fn send(&mut self, from: usize, to: NodeNumber, event: Event) {
        let to = usize::from(to.0) - 1;
        let Some(delay) = self.transit(from, to) else { return };
        self.schedule(delay, to, event);
    }

    /// Milliseconds on the way, which reorder; `None` = lost.
    fn transit(&mut self, from: usize, to: usize) -> Option<u64> {
        let (cut, loss, delay) = {
            let link = &self.links[from][to];
            (link.cut, link.loss, link.delay)
        };
        if cut || self.rng.percent(loss) {
            return None;
        }
        Some(self.rng.between(0, delay))
    }

    fn serve(&mut self, node: usize, client: usize) {
        let table: Table = self.nodes[node].disk.clone();
        if table.node == self.nodes[node].number {
            self.send(node, self.nodes[client].number, Event::Deliver(Input::Table(table)));
        }
    }

    fn program(&mut self, node: usize, identity: Identity, epoch: u64) {
        if self.nodes[node].taking.get(&identity) == Some(&epoch) {
            self.nodes[node].taking.remove(&identity);
            self.nodes[node].programmed.insert(identity.clone());
            self.input(node, Input::Programmed(identity, epoch));
        }
    }

    fn probe(&mut self, node: usize, identity: Identity, started: sortie_core::ownership::Millis) {
        let prober = Sighting::Prober(self.nodes[node].number);
        let up: Vec<bool> = self.nodes.iter().map(|node| node.device_up).collect();
        for other in self.probes.iter_mut().filter(|p| p.open && p.node != node && p.identity == identity) {
            if up[node] && up[other.node] && other.seen == Sighting::Nobody {
                other.seen = prober;
            }
        }
        self.probes.push(Probe { node, identity, started, seen: Sighting::Nobody, open: true });
        let delay = self.rng.between(98, 105);
        self.schedule(delay, node, Event::ProbeEnd(self.probes.len() - 1));
    }

    /// Owners answer the probes under way; the responder is in the helper, so a paused one does not.
    fn watch_wire(&mut self) {
        let Self { probes, nodes, configs, now, .. } = self;
        for probe in probes.iter_mut().rev().take(16).filter(|probe| probe.open && nodes[probe.node].device_up) {
            let count = configs.get(&probe.identity).map_or(0, |config| config.candidates.len());
            let answers = |(index, node): &(usize, &Node)| {
                let may = node.may_send(&probe.identity, count, *now);
                *index != probe.node && node.life == Life::Runs && node.device_up && may
            };
            if let Some((_, node)) = nodes.iter().enumerate().find(answers) {
                probe.seen = Sighting::Owner(node.number);
            }
        }
    }

    fn end_probe(&mut self, index: usize) {
        self.probes[index].open = false;
        let probe = &self.probes[index];
        let (node, identity, started, sighting) = (probe.node, probe.identity.clone(), probe.started, probe.seen);
        self.input(node, Input::Wire { identity, started, sighting });
    }

    fn probe_next_hop(&mut self, node: usize, identity: Identity) {
        let sent = self.nodes[node].clock(self.now);
        let reach = self.nodes[node].reach();
        let delay = if reach == Reach::Reached { self.rng.between(0, 3) } else { 50 };
        self.schedule(delay, node, Event::Deliver(Input::NextHop { identity, sent, reach }));
    }
}
