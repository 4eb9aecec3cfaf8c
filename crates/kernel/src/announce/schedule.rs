//! When what is announced.
//!
//! Guarantees: an address is announced 0, 0.2, 1 and 2 s after it became ours and then every 60 s; its next hop is
//! asked right after each first announcement of a round, and each second until it answered, ten times at most; no
//! device gets more frames than its pace. Leaves out: clocks, frames and sockets. A pace that is too slow for all
//! addresses delays, and announces new addresses before it repeats old ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sortie_core::model::DeviceName;

/// Between the first announcements of an address, which others may have lost.
const STEPS: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(800), Duration::from_secs(1)];
/// Between later ones.
const REFRESH: Duration = Duration::from_secs(60);
/// Between questions to a next hop that does not answer.
const RETRY: Duration = Duration::from_secs(1);
/// So often it is asked in one round.
const QUESTIONS: u8 = 10;
/// What a late timer may catch up at once.
const SLACK: Duration = Duration::from_millis(10);
/// Frames of an announcement, a request and a reply; of a question there is one.
const ANNOUNCEMENT: u32 = 2;

/// Where an address is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// On this device.
    pub device: DeviceName,
    /// Whose answer to the address shows that it knows us; of the same family as the address.
    pub next_hop: Option<IpAddr>,
}

/// Something to send now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// To everybody.
    Announce { device: DeviceName, address: IpAddr },
    /// A question from the address to the next hop, for the `attempt`th time, from 1.
    Ask { device: DeviceName, address: IpAddr, next_hop: IpAddr, attempt: u8 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Announce,
    Ask,
}

struct Entry {
    via: Via,
    /// Announcements so far.
    round: usize,
    announce_at: Instant,
    /// Questions of this round so far.
    asked: u8,
    ask_at: Option<Instant>,
    verified: Option<bool>,
}

/// What waits for one device.
struct Lane {
    free_at: Instant,
    due: BTreeSet<(Instant, Task, IpAddr)>,
}

/// Everything that is announced.
pub(super) struct Schedule {
    /// Between two frames of a device.
    gap: Duration,
    entries: BTreeMap<IpAddr, Entry>,
    lanes: BTreeMap<DeviceName, Lane>,
}

impl Schedule {
    /// Sends one frame per `gap` and device.
    pub(super) fn new(gap: Duration) -> Self {
        Self { gap, entries: BTreeMap::new(), lanes: BTreeMap::new() }
    }

    /// Announces exactly these. What was announced in the same place before goes on as it was.
    pub(super) fn set(&mut self, wanted: BTreeMap<IpAddr, Via>, now: Instant) {
        let is_gone = |(address, entry): &(&IpAddr, &Entry)| wanted.get(address) != Some(&entry.via);
        let gone: Vec<_> = self.entries.iter().filter(is_gone).map(|(address, _)| *address).collect();
        for address in gone {
            self.remove(address);
        }
        for (address, via) in wanted {
            if !self.entries.contains_key(&address) {
                self.insert(address, via, now);
            }
        }
    }

    /// Starts over with what is announced on a device.
    pub(super) fn restart(&mut self, device: &DeviceName, now: Instant) {
        let here = |(address, entry): (&IpAddr, &Entry)| (entry.via.device == *device).then_some(*address);
        for address in self.entries.iter().filter_map(here).collect::<Vec<_>>() {
            if let Some(entry) = self.remove(address) {
                self.insert(address, entry.via, now);
            }
        }
    }

    /// The next frame to send, if it is time.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Action> {
        let (device, lane) = self.lanes.iter_mut().find(|(_, lane)| lane.ready_at().is_some_and(|at| at <= now))?;
        let (_, task, address) = lane.due.pop_first()?;
        let entry = self.entries.get_mut(&address)?;
        let frames = if task == Task::Announce && address.is_ipv4() { ANNOUNCEMENT } else { 1 };
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        lane.free_at = lane.free_at.max(earliest) + self.gap * frames;
        let action = entry.take(task, (device, address), now);
        lane.due.extend(entry.due(task).map(|at| (at, task, address)));
        if task == Task::Announce && entry.is_first_of_round() {
            lane.due.extend(entry.due(Task::Ask).map(|at| (at, Task::Ask, address)));
        }
        action
    }

    /// When [`Schedule::pop`] has something again.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.lanes.values().filter_map(Lane::ready_at).min()
    }

    /// The neighbour answered to the address.
    pub(super) fn heard(&mut self, address: IpAddr, neighbour: IpAddr) {
        let Some(entry) = self.entries.get_mut(&address).filter(|entry| entry.via.next_hop == Some(neighbour)) else {
            return;
        };
        entry.verified = Some(true);
        if let (Some(at), Some(lane)) = (entry.ask_at.take(), self.lanes.get_mut(&entry.via.device)) {
            lane.due.remove(&(at, Task::Ask, address));
        }
    }

    /// Whether the next hop answers to the address; `None` before that is known.
    pub(super) fn verified(&self, address: IpAddr) -> Option<bool> {
        self.entries.get(&address)?.verified
    }

    fn insert(&mut self, address: IpAddr, via: Via, now: Instant) {
        let lane = self.lanes.entry(via.device.clone()).or_insert_with(|| Lane { free_at: now, due: BTreeSet::new() });
        lane.due.insert((now, Task::Announce, address));
        let entry = Entry { via, round: 0, announce_at: now, asked: 0, ask_at: None, verified: None };
        self.entries.insert(address, entry);
    }

    fn remove(&mut self, address: IpAddr) -> Option<Entry> {
        let entry = self.entries.remove(&address)?;
        let lane = self.lanes.get_mut(&entry.via.device)?;
        lane.due.remove(&(entry.announce_at, Task::Announce, address));
        if let Some(at) = entry.ask_at {
            lane.due.remove(&(at, Task::Ask, address));
        }
        Some(entry)
    }
}

impl Lane {
    fn ready_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, ..)| self.free_at.max(*at))
    }
}

impl Entry {
    fn take(&mut self, task: Task, (device, address): (&DeviceName, IpAddr), now: Instant) -> Option<Action> {
        let device = device.clone();
        match task {
            Task::Announce => {
                self.announced(now);
                Some(Action::Announce { device, address })
            }
            Task::Ask => {
                self.asked(now);
                let next_hop = self.via.next_hop?;
                Some(Action::Ask { device, address, next_hop, attempt: self.asked })
            }
        }
    }

    fn announced(&mut self, now: Instant) {
        self.announce_at = now + STEPS.get(self.round).copied().unwrap_or(REFRESH);
        self.round += 1;
        if self.is_first_of_round() && self.ask_at.is_none() && self.via.next_hop.is_some() {
            self.asked = 0;
            self.ask_at = Some(now);
        }
    }

    /// A question before this one had a second to be answered.
    fn asked(&mut self, now: Instant) {
        if self.asked > 0 {
            self.verified = Some(false);
        }
        self.asked += 1;
        self.ask_at = (self.asked < QUESTIONS).then_some(now + RETRY);
    }

    /// The first announcement of all, or a later refresh: not one of the repetitions in between.
    fn is_first_of_round(&self) -> bool {
        self.round == 1 || self.round > STEPS.len() + 1
    }

    fn due(&self, task: Task) -> Option<Instant> {
        match task {
            Task::Announce => Some(self.announce_at),
            Task::Ask => self.ask_at,
        }
    }
}

#[cfg(test)]
mod tests;
