//! A simulated node: its helper, its kernel, its clock.

use std::collections::{BTreeMap, BTreeSet};

use sortie_core::ownership::{Config, Identity, Input, Machine, Millis, NodeNumber, Presence, Reach, Table};

/// What the helper's process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Runs,
    /// SIGSTOP: inputs wait, the kernel goes on.
    Paused,
    /// Killed or ended: the kernel goes on.
    Dead,
    /// Without power.
    Off,
}

pub(crate) struct Node {
    pub(crate) number: NodeNumber,
    pub(crate) life: Life,
    pub(crate) machine: Machine,
    pub(crate) incarnation: u64,
    /// The saved table.
    pub(crate) disk: Table,
    pub(crate) inbox: Vec<super::world::Event>,
    pub(crate) tick_at: Option<u64>,
    pub(crate) leaving: bool,
    pub(crate) device_up: bool,
    pub(crate) hop_up: bool,
    /// Identities whose claim is being programmed.
    pub(crate) taking: BTreeMap<Identity, u64>,
    /// The kernel: identities it may send with, while the lease runs.
    pub(crate) programmed: BTreeSet<Identity>,
    pub(crate) lease: Option<Millis>,
    /// Successors it consented to and has not withdrawn for.
    pub(crate) handed: BTreeMap<Identity, BTreeSet<NodeNumber>>,
    /// Epoch of the owner it saw last.
    pub(crate) epochs: BTreeMap<Identity, u64>,
    boot: u64,
    /// Node milliseconds per thousand true ones.
    rate: u64,
}

impl Node {
    pub(crate) fn new(number: NodeNumber, rate: u64) -> Self {
        Self {
            number,
            life: Life::Off,
            machine: Machine::new(number, 0, Millis(0)),
            incarnation: 0,
            disk: Table::default(),
            inbox: Vec::new(),
            tick_at: None,
            leaving: false,
            device_up: true,
            hop_up: true,
            taking: BTreeMap::new(),
            programmed: BTreeSet::new(),
            lease: None,
            handed: BTreeMap::new(),
            epochs: BTreeMap::new(),
            boot: 0,
            rate,
        }
    }

    pub(crate) fn clock(&self, now: u64) -> Millis {
        Millis(1000 + (now - self.boot) * self.rate / 1000)
    }

    /// The first true time at which the clock shows `at`.
    pub(crate) fn when(&self, at: Millis) -> u64 {
        self.boot + (at.0.saturating_sub(1000) * 1000).div_ceil(self.rate)
    }

    pub(crate) fn is_able(&self) -> bool {
        self.life == Life::Runs && self.device_up && self.hop_up && !self.leaving
    }

    pub(crate) fn may_send(&self, identity: &Identity, candidates: usize, now: u64) -> bool {
        let leased = candidates == 1 || self.lease.is_some_and(|end| end > self.clock(now));
        self.life != Life::Off && leased && self.programmed.contains(identity)
    }

    /// Ends the helper; with the power the kernel's state goes too.
    pub(crate) fn stop(&mut self, life: Life) {
        self.life = life;
        self.inbox.clear();
        self.taking.clear();
        if life == Life::Off {
            self.programmed.clear();
            self.handed.clear();
            self.lease = None;
            self.disk = Table::default();
        }
    }

    /// Starts the helper; returns what it does first.
    pub(crate) fn start(
        &mut self,
        now: u64,
        configs: &BTreeMap<Identity, Config>,
    ) -> Vec<sortie_core::ownership::Action> {
        if self.life == Life::Off {
            self.boot = now;
        }
        self.incarnation += 1;
        let clock = self.clock(now);
        self.life = Life::Runs;
        self.leaving = false;
        self.tick_at = None;
        self.epochs.clear();
        self.machine = Machine::new(self.number, self.incarnation << 32, clock);
        for (identity, config) in configs {
            self.machine.handle(clock, Input::Configure(identity.clone(), Some(config.clone())));
            let (device, reach) = (self.presence(), self.reach());
            self.machine.handle(clock, Input::Device(identity.clone(), device));
            self.machine.handle(clock, Input::NextHop { identity: identity.clone(), sent: clock, reach });
        }
        let lease = self.lease.filter(|end| *end > clock);
        self.machine.start(clock, &self.disk, lease)
    }

    pub(crate) fn presence(&self) -> Presence {
        if self.device_up { Presence::Up } else { Presence::Down }
    }

    pub(crate) fn reach(&self) -> Reach {
        if self.device_up && self.hop_up { Reach::Reached } else { Reach::Lost }
    }
}
