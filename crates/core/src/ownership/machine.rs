//! All identities of a node: inputs in, actions out.

use std::collections::{BTreeMap, BTreeSet};

use super::peer::{Moment, Peer, Scene, Staying};
use super::unit::Unit;
use super::{
    Action, Config, Identity, Input, LEASE, MARGIN, Message, Millis, NodeNumber, Presence, RENEW, Reach, Row, Table,
};

/// The decisions of one node.
#[derive(Debug)]
pub struct Machine {
    pub(super) me: NodeNumber,
    pub(super) table: Table,
    pub(super) units: BTreeMap<Identity, Unit>,
    pub(super) peers: BTreeMap<NodeNumber, Peer>,
    pub(super) bound_until: Millis,
    /// When the last questions went out.
    pub(super) asked: Millis,
    /// The moment of the last decision.
    pub(super) settled: Millis,
    /// When the table changed last.
    changed: Millis,
    first_version: u64,
    running: Running,
    staying: Staying,
    lease: Option<Millis>,
    beside: Beside,
}

/// Whether what stands beside the table was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Published,
    Changed,
}

/// Whether [`Machine::start`] has been called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Running {
    Prepares,
    Runs,
}

impl Machine {
    /// A node that knows nothing yet. `first_version` must exceed every version this node ever published, also
    /// before a reboot: take it from the wall clock, with room below for the changes of a run.
    #[must_use]
    pub fn new(me: NodeNumber, first_version: u64, now: Millis) -> Self {
        Self {
            me,
            table: Table { node: me, version: first_version, rows: BTreeMap::new() },
            units: BTreeMap::new(),
            peers: BTreeMap::new(),
            bound_until: now.plus(LEASE + MARGIN),
            asked: now,
            settled: now,
            changed: now,
            first_version,
            running: Running::Prepares,
            staying: Staying::Stays,
            lease: None,
            beside: Beside::Published,
        }
    }

    /// Begins to decide, once all identities are configured: takes in the table saved by the helper before (or an
    /// empty one), and the end of the permission that is still in the kernel. Until then inputs are only noted, so
    /// that no peer sees a table without the claims that the kernel still carries out.
    pub fn start(&mut self, now: Millis, saved: &Table, lease: Option<Millis>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.running = Running::Runs;
        self.bound_until = now.plus(LEASE + MARGIN);
        self.lease = lease.filter(|end| *end > now);
        for (identity, row) in &saved.rows {
            let gone = || {
                let holds = row.claim.is_some_and(|claim| claim.stage != super::Stage::Standing);
                holds.then(|| Action::Withdraw { identity: identity.clone(), successor: None })
            };
            let action = self.with_unit(identity, now, |unit, scene| unit.remember(scene, row, lease));
            actions.extend(action.unwrap_or_else(gone));
        }
        actions.extend(self.handle(now, Input::Tick));
        actions
    }

    /// What follows from an input. Times never go back.
    pub fn handle(&mut self, now: Millis, input: Input) -> Vec<Action> {
        self.handle_all(now, [input])
    }

    /// What follows from inputs of one moment; deciding once costs as much as for one of them.
    pub fn handle_all(&mut self, now: Millis, inputs: impl IntoIterator<Item = Input>) -> Vec<Action> {
        let (mut actions, mut asked) = (Vec::new(), Vec::new());
        self.settled = now;
        for input in inputs {
            if let Input::Message(from, Message::Ask { version, stamp }) = &input {
                asked.push((*from, *version, *stamp));
            }
            actions.extend(self.take_in(now, input));
        }
        if self.running == Running::Prepares {
            return Vec::new();
        }
        self.settle(now, &mut actions);
        let version = self.table.version;
        let answer = |(to, asked, stamp)| Action::Send(to, Message::Answer { version, stamp, asked });
        actions.extend(asked.into_iter().map(answer));
        actions
    }

    fn take_in(&mut self, now: Millis, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Configure(identity, config) => actions.extend(self.configure(now, identity, config)),
            Input::Device(identity, presence) => {
                self.with_unit(&identity, now, |unit, _| unit.device = presence);
            }
            Input::NextHop { identity, sent, reach } => {
                self.with_unit(&identity, now, |unit, _| unit.hear_next_hop(sent, reach));
            }
            Input::Wire { identity, started, sighting } => {
                actions
                    .extend(self.with_unit(&identity, now, |u, scene| u.sighted(scene, started, sighting)).flatten());
            }
            Input::Peer(node, presence) => self.peers.entry(node).or_default().presence = presence,
            Input::Message(from, message) => actions.extend(self.hear(now, from, message)),
            Input::Table(table) => self.learn(table),
            Input::Programmed(identity, epoch) => {
                self.with_unit(&identity, now, |unit, _| unit.programmed(epoch));
            }
            Input::Beside => self.beside = Beside::Changed,
            Input::Leave => self.staying = Staying::Leaves,
            Input::Tick => {}
        }
        actions
    }

    pub(super) fn scene<'a>(&'a self, identity: &'a Identity, now: Millis) -> Scene<'a> {
        Scene::new(self.moment(now), identity, &self.peers)
    }

    fn moment(&self, now: Millis) -> Moment {
        Moment { me: self.me, now, bound_until: self.bound_until, staying: self.staying }
    }

    fn with_unit<T>(
        &mut self,
        identity: &Identity,
        now: Millis,
        act: impl FnOnce(&mut Unit, &Scene<'_>) -> T,
    ) -> Option<T> {
        let mut unit = self.units.remove(identity)?;
        let result = act(&mut unit, &self.scene(identity, now));
        self.units.insert(identity.clone(), unit);
        Some(result)
    }

    fn configure(&mut self, now: Millis, identity: Identity, config: Option<Config>) -> Option<Action> {
        let Some(config) = config.filter(|config| !config.candidates.is_empty()) else {
            let held = self.units.remove(&identity).is_some_and(|unit| unit.holds());
            return held.then_some(Action::Withdraw { identity, successor: None });
        };
        if let Some(unit) = self.units.get_mut(&identity) {
            unit.reconfigure(&identity, config, now);
        } else {
            self.units.insert(identity.clone(), Unit::new(&identity, config, now));
        }
        None
    }

    fn hear(&mut self, now: Millis, from: NodeNumber, message: Message) -> Option<Action> {
        let first_version = self.first_version;
        let peer = self.peers.entry(from).or_default();
        peer.version = peer.version.max(message.version());
        match message {
            Message::Ask { .. } => peer.asked = Some(now),
            Message::Answer { version, stamp, asked } => {
                let later = peer.answered.is_none_or(|last| last <= (stamp, version));
                if asked >= first_version && stamp <= now && later {
                    peer.answered = Some((stamp, version));
                }
            }
        }
        let held = peer.table.as_ref().map_or(0, |table| table.version);
        (held < peer.version).then_some(Action::Fetch(from))
    }

    fn learn(&mut self, table: Table) {
        let peer = self.peers.entry(table.node).or_default();
        if peer.table.as_ref().is_none_or(|held| held.version < table.version) {
            peer.version = peer.version.max(table.version);
            peer.table = Some(table);
        }
    }

    fn settle(&mut self, now: Millis, actions: &mut Vec<Action>) {
        let moment = self.moment(now);
        for (identity, unit) in &mut self.units {
            actions.extend(unit.settle(&Scene::new(moment, identity, &self.peers)));
        }
        actions.extend(self.renew(now));
        let published = self.publish(now);
        if published.is_some() {
            self.changed = now;
        }
        let asks = published.is_some() || (self.is_asking(now) && now >= self.asked.plus(RENEW));
        actions.extend(published);
        if asks {
            self.ask(now, actions);
        }
        actions.sort_by_key(order_of);
    }

    /// The permission of the kernel is one for all identities: the earliest end counts. What was handed over last leaves
    /// it to run out.
    fn renew(&mut self, now: Millis) -> Option<Action> {
        let passes = || self.units.values().filter_map(|unit| unit.passes).filter(|end| *end > now).max();
        let until = self.units.values().filter_map(Unit::lease_end).min().or_else(passes);
        let unchanged = match (until, self.lease) {
            (Some(new), Some(old)) => new >= old && new.since(old) < RENEW / 2 && old.since(now) > LEASE / 2,
            (None, None) => true,
            _ => false,
        };
        if unchanged {
            return None;
        }
        self.lease = until;
        Some(Action::RenewLease { until })
    }

    fn publish(&mut self, now: Millis) -> Option<Action> {
        let row = |(identity, unit): (&Identity, &Unit)| {
            let row = unit.row(&self.scene(identity, now));
            (self.table.rows.get(identity) != Some(&row)).then(|| (identity.clone(), row))
        };
        let changed: Vec<(Identity, Row)> = self.units.iter().filter_map(row).collect();
        let rows = self.table.rows.len();
        self.table.rows.retain(|identity, _| self.units.contains_key(identity));
        if changed.is_empty() && rows == self.table.rows.len() && self.beside == Beside::Published {
            return None;
        }
        self.beside = Beside::Published;
        self.table.rows.extend(changed);
        self.table.version += 1;
        Some(Action::Publish { version: self.table.version })
    }

    /// Who claims asks for support; who changed its table says so more than once, because datagrams get lost.
    pub(super) fn is_asking(&self, now: Millis) -> bool {
        now.since(self.changed) <= LEASE || self.units.values().any(|unit| unit.own.is_some() && !unit.alone())
    }

    fn ask(&mut self, now: Millis, actions: &mut Vec<Action>) {
        self.asked = now;
        let all: BTreeSet<NodeNumber> = self.units.values().flat_map(|unit| unit.order.iter().copied()).collect();
        let message = Message::Ask { version: self.table.version, stamp: now };
        actions.extend(all.into_iter().filter(|node| *node != self.me).map(|node| Action::Send(node, message)));
    }
}

impl Unit {
    fn reconfigure(&mut self, identity: &Identity, config: Config, now: Millis) {
        if self.config.candidates != config.candidates {
            let (was_alone, own) = (self.alone(), self.own);
            let order = super::order(identity, &config.candidates);
            self.order = order;
            self.own = own.map(|own| super::unit::Own { stamp: if was_alone { now } else { own.stamp }, ..own });
        }
        self.config = config;
    }

    fn hear_next_hop(&mut self, sent: Millis, reach: Reach) {
        let newer = self.reached.is_none_or(|last| sent >= last);
        match reach {
            Reach::Reached if newer => self.reached = Some(sent),
            Reach::Lost => self.reached = None,
            Reach::Reached => {}
        }
        if self.device == Presence::Down {
            self.reached = None;
        }
    }
}

fn order_of(action: &Action) -> u8 {
    match action {
        Action::Withdraw { .. } | Action::Conflict(_) => 0,
        Action::RenewLease { .. } => 1,
        Action::Claim { .. } => 2,
        Action::Publish { .. } | Action::HandOver { .. } => 3,
        Action::Send(..) => 4,
        Action::Fetch(_) | Action::ProbeOnWire { .. } | Action::ProbeNextHop(_) => 5,
    }
}
