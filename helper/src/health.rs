//! Whether next hops answer.
//!
//! Guarantees: a next hop dies after as many failed probes in a row as its route says and lives again with
//! the first answer; what died stays dead over a restart until it answers. Leaves out: what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sortie_core::desired::{HopState, Skeleton};
use sortie_core::model::{DeviceName, Health as Wish, HealthMode, NextHop};
use sortie_core::world::World;
use sortie_kernel::KernelError;
use sortie_kernel::echo::Echo;
use sortie_kernel::neighbour::{Neighbour, Neighbours};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::store::DeadHops;

/// How one next hop is probed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Probe {
    device: DeviceName,
    gateway: IpAddr,
    way: Way,
    every: Duration,
    failures: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Neighbour,
    /// A target behind the gateway is asked with the packet mark of the exit, whose table knows the way.
    Icmp {
        target: IpAddr,
        mark: Option<u32>,
    },
}

/// All probes.
#[derive(Debug)]
pub(crate) struct Health {
    running: BTreeMap<Probe, Task>,
    dead: BTreeSet<Probe>,
    /// From before the restart, until a probe takes them over.
    inherited: DeadHops,
    verdicts: (mpsc::UnboundedSender<Verdict>, mpsc::UnboundedReceiver<Verdict>),
}

/// Ends with its owner.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Verdict {
    probe: Probe,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Alive,
    Dead,
}

impl Health {
    /// Nothing is probed yet; `dead` is what the last helper knew.
    pub(crate) fn new(dead: DeadHops) -> Self {
        Self { running: BTreeMap::new(), dead: BTreeSet::new(), inherited: dead, verdicts: mpsc::unbounded_channel() }
    }

    /// Next hops that do not answer.
    pub(crate) fn dead_hops(&self) -> DeadHops {
        let hops = self.dead.iter().map(|p| (p.device.clone(), p.gateway));
        hops.chain(self.inherited.iter().cloned()).collect()
    }

    /// Probes what the exits need from now on, and nothing else.
    pub(crate) fn follow(&mut self, skeleton: &Skeleton, world: &World) {
        let wanted = probes(skeleton, world);
        let known = self.dead_hops();
        self.inherited.clear();
        self.running.retain(|probe, _| wanted.contains(probe));
        self.dead.retain(|probe| wanted.contains(probe));
        for probe in wanted {
            if !self.running.contains_key(&probe) {
                self.start(probe, &known);
            }
        }
    }

    /// A probe of which only the interval is new knows what the one before it knew.
    fn start(&mut self, probe: Probe, known: &DeadHops) {
        let mut before = State::Alive;
        if known.contains(&(probe.device.clone(), probe.gateway)) {
            before = State::Dead;
            self.dead.insert(probe.clone());
        }
        let task = tokio::spawn(watch(probe.clone(), before, self.verdicts.0.clone()));
        self.running.insert(probe, Task(task.abort_handle()));
    }

    /// Waits until a next hop died or came back. Dropping the future loses nothing.
    pub(crate) async fn changed(&mut self) {
        while let Some(Verdict { probe, state }) = self.verdicts.1.recv().await {
            if !self.running.contains_key(&probe) {
                continue;
            }
            log::info!("next hop is {state:?} gateway={} device={}", probe.gateway, probe.device);
            match state {
                State::Alive => drop(self.dead.remove(&probe)),
                State::Dead => drop(self.dead.insert(probe)),
            }
            return;
        }
    }
}

fn probes(skeleton: &Skeleton, world: &World) -> BTreeSet<Probe> {
    let exits = skeleton.exits.values();
    let wishes = exits.filter_map(|exit| Some((exit, &world.routes.get(&exit.route)?.health)));
    let hops = wishes.flat_map(|(exit, wish)| exit.hops.iter().map(move |hop| (exit, wish, hop)));
    hops.filter_map(|(exit, wish, (hop, state))| {
        let mark = skeleton.numbers.packet_mark.place(u32::from(exit.number));
        let is_near = |target| exit.connected.iter().any(|(network, _)| network.contains(target));
        probe(wish, hop, state, |target| (!is_near(target)).then_some(mark))
    })
    .collect()
}

/// A next hop whose device is missing or down is not asked.
fn probe(wish: &Wish, hop: &NextHop, state: &HopState, mark: impl Fn(IpAddr) -> Option<u32>) -> Option<Probe> {
    let (HopState::Usable(device) | HopState::Unreachable(device)) = state else { return None };
    let gateway = hop.gateway?;
    let target = wish.target.filter(|t| t.is_ipv4() == gateway.is_ipv4()).unwrap_or(gateway);
    let way = match wish.mode {
        HealthMode::None => return None,
        HealthMode::Neighbour => Way::Neighbour,
        HealthMode::Icmp => Way::Icmp { target, mark: mark(target).filter(|_| target != gateway) },
    };
    let every = Duration::from_millis(u64::from(wish.interval_milliseconds));
    Some(Probe { device: device.clone(), gateway, way, every, failures: wish.failures })
}

async fn watch(probe: Probe, before: State, verdicts: mpsc::UnboundedSender<Verdict>) {
    let mut streak = Streak { state: before, failed: 0, limit: probe.failures };
    let mut neighbours = None;
    let mut tick = interval_at(Instant::now(), probe.every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let answered = match &probe.way {
            Way::Neighbour => resolve(&probe, &mut neighbours).await,
            Way::Icmp { target, mark } => ping(&probe, *target, *mark).await,
        };
        let seen = answered.map(|answered| if answered { State::Alive } else { State::Dead }).unwrap_or_else(|error| {
            log::debug!("probe failed gateway={} error={}", probe.gateway, crate::node::chain(&error));
            State::Dead
        });
        if let Some(state) = streak.take(seen)
            && verdicts.send(Verdict { probe: probe.clone(), state }).is_err()
        {
            return;
        }
    }
}

/// Makes the kernel ask and gives the answer one interval's time.
async fn resolve(probe: &Probe, shared: &mut Option<Arc<Mutex<Neighbours>>>) -> Result<bool, KernelError> {
    let neighbours = match shared {
        Some(neighbours) => neighbours,
        None => shared.insert(Arc::new(Mutex::new(Neighbours::open()?))),
    };
    let lock = || neighbours.lock().unwrap_or_else(PoisonError::into_inner);
    lock().probe(&probe.device, probe.gateway)?;
    let end = Instant::now() + probe.every;
    let mut pause = Duration::from_millis(5);
    loop {
        match lock().state(&probe.device, probe.gateway)? {
            Neighbour::Reachable => return Ok(true),
            Neighbour::Failed => return Ok(false),
            Neighbour::Probing | Neighbour::Absent => {}
        }
        if Instant::now() + pause >= end {
            return Ok(false);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

async fn ping(probe: &Probe, target: IpAddr, mark: Option<u32>) -> Result<bool, KernelError> {
    let echo = Echo { device: probe.device.clone(), target, mark, deadline: probe.every };
    spawn_blocking(move || echo.ping())
        .await
        .map_err(|error| KernelError::Answer { operation: "ping", detail: error.to_string() })?
}

/// Failures in a row.
#[derive(Debug)]
struct Streak {
    state: State,
    failed: u32,
    limit: u32,
}

impl Streak {
    /// The new state after this probe, when it is another one.
    fn take(&mut self, seen: State) -> Option<State> {
        self.failed = if seen == State::Alive { 0 } else { self.failed.saturating_add(1) };
        let stays = seen == self.state || (seen == State::Dead && self.failed < self.limit);
        if stays {
            return None;
        }
        self.state = seen;
        Some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_dies_after_failures_in_a_row_and_lives_with_one_answer() {
        let mut streak = Streak { state: State::Alive, failed: 0, limit: 3 };
        let (no, yes) = (State::Dead, State::Alive);
        let seen: Vec<_> = [no, no, yes, no, no, no, no, yes, yes].into_iter().map(|s| streak.take(s)).collect();
        let (dead, alive) = (Some(State::Dead), Some(State::Alive));
        assert_eq!(seen, [None, None, None, None, None, dead, None, alive, None]);
    }

    fn wish(mode: HealthMode, target: Option<&str>) -> Wish {
        Wish { mode, interval_milliseconds: 500, failures: 3, target: target.map(|t| t.parse().unwrap()) }
    }

    #[test]
    fn only_a_gateway_on_a_device_that_is_up_is_asked() {
        let device = DeviceName("eth1".to_owned());
        let hop = NextHop { gateway: "192.0.2.1".parse().ok(), device: None, weight: 1, backup: false };
        let up = HopState::Usable(device.clone());
        let ask = |wish: &Wish, state: &HopState| probe(wish, &hop, state, |_| Some(0x100)).map(|p| p.way);
        assert_eq!(ask(&wish(HealthMode::Neighbour, None), &up), Some(Way::Neighbour));
        assert_eq!(ask(&wish(HealthMode::Neighbour, None), &HopState::DeviceDown(device)), None);
        assert_eq!(ask(&wish(HealthMode::Neighbour, None), &HopState::DeviceMissing), None);
        assert_eq!(ask(&wish(HealthMode::None, None), &up), None);
        let on_link = NextHop { gateway: None, ..hop.clone() };
        assert_eq!(probe(&wish(HealthMode::Icmp, None), &on_link, &up, |_| None), None);
    }

    #[test]
    fn a_target_behind_the_gateway_is_asked_with_the_exits_mark() {
        let hop = NextHop { gateway: "192.0.2.1".parse().ok(), device: None, weight: 1, backup: false };
        let up = HopState::Usable(DeviceName("eth1".to_owned()));
        let way = |target| probe(&wish(HealthMode::Icmp, target), &hop, &up, |_| Some(0x100)).unwrap().way;
        let gateway = hop.gateway.unwrap();
        assert_eq!(way(None), Way::Icmp { target: gateway, mark: None });
        assert_eq!(way(Some("2001:db8::1")), Way::Icmp { target: gateway, mark: None });
        assert_eq!(way(Some("198.51.100.1")), Way::Icmp { target: "198.51.100.1".parse().unwrap(), mark: Some(0x100) });
    }
}
