//! Between foca and the rest.

use std::time::Instant;

use foca::{AccumulatingRuntime, Member, Message, OwnedNotification, Timer};

use super::{MemberEvent, Membership, Spread, Task};
use crate::editions::{Edition, News};
use crate::identity::{self, Life};
use crate::seal::{Header, Kind, Refusal};

type Outcome = AccumulatingRuntime<Life>;

impl Membership {
    pub(super) fn take_swim(&mut self, now: Instant, header: &Header, body: &[u8]) -> Result<(), Refusal> {
        let (version, message) = body.split_first_chunk().ok_or(Refusal::Malformed)?;
        let edition = Edition { incarnation: header.incarnation, version: u64::from_be_bytes(*version) };
        let known = |node| node == self.node || self.peers.contains_key(&node);
        let (said, kept) = identity::sieve(message, known).map_err(|_| Refusal::Malformed)?;
        if said.src.node != header.sender {
            return Err(Refusal::Malformed);
        }
        self.take_own_news(News { node: header.sender, edition });
        if said.message == Message::Announce {
            self.tell_all_editions(header.sender);
        }
        let mut outcome = Outcome::new();
        let handled = self.foca.handle_data(&kept, &mut outcome);
        self.settle(now, outcome);
        handled.map_err(|error| {
            log::debug!("membership message of node {}: {error}", header.sender);
            Refusal::Malformed
        })
    }

    /// News a node told of itself go on to others; foca does that with those it got by broadcast.
    pub(super) fn take_own_news(&mut self, news: News) {
        let learned = self.editions.lock().learn(news);
        if learned && news.edition.version > 0 {
            self.broadcast(news);
        }
    }

    /// A node heard within the doubt is not buried by this one, whatever became of the probes.
    pub(super) fn handle_swim_timer(&mut self, now: Instant, timer: Timer<Life>) {
        if let Timer::ChangeSuspectToDown { member_id, .. } = &timer {
            let alive_until = self.heard.get(&member_id.node).map(|heard| *heard + self.tuning.doubt);
            if let Some(until) = alive_until.filter(|until| *until > now) {
                self.agenda.add(until, Task::Swim(timer));
                return;
            }
        }
        let mut outcome = Outcome::new();
        let handled = self.foca.handle_timer(timer, &mut outcome);
        self.conclude(now, outcome, handled);
    }

    /// Asks `node` to let us join.
    pub(super) fn announce(&mut self, now: Instant, node: u16) {
        let mut outcome = Outcome::new();
        let announced = self.foca.announce(Life::unknown(node), &mut outcome);
        self.conclude(now, outcome, announced);
    }

    /// Takes `node` for dead.
    pub(super) fn bury(&mut self, now: Instant, node: u16, spread: Spread) {
        let Some(life) = self.foca.iter_members().map(|member| *member.id()).find(|life| life.node == node) else {
            return;
        };
        let mut outcome = Outcome::new();
        let buried = self.foca.apply_many(std::iter::once(Member::down(life)), spread == Spread::Tell, &mut outcome);
        self.conclude(now, outcome, buried);
    }

    /// Tells a few members at once, and the rest along with other messages, of this node's table.
    pub(super) fn spread(&mut self, now: Instant) {
        self.broadcast(self.own_news());
        let mut outcome = Outcome::new();
        let spread = self.foca.broadcast(&mut outcome);
        self.conclude(now, outcome, spread);
    }

    pub(super) fn leave_swim(&mut self, now: Instant) {
        let mut outcome = Outcome::new();
        let left = self.foca.leave_cluster(&mut outcome);
        self.conclude(now, outcome, left);
    }

    /// Fits the doubt to the number of nodes.
    pub(super) fn resize(&mut self) {
        if let Err(error) = self.foca.set_config(self.tuning.config(self.peers.len() + 1)) {
            log::debug!("membership: {error}");
        }
    }

    fn broadcast(&mut self, news: News) {
        if let Err(error) = self.foca.add_broadcast(&news.encode()) {
            log::debug!("membership: {error}");
        }
    }

    fn conclude(&mut self, now: Instant, outcome: Outcome, handled: Result<(), foca::Error>) {
        if let Err(error) = handled {
            log::debug!("membership: {error}");
        }
        self.settle(now, outcome);
    }

    fn settle(&mut self, now: Instant, mut outcome: Outcome) {
        while let Some((to, message)) = outcome.to_send() {
            let body = [&self.own.version.to_be_bytes(), message.as_ref()].concat();
            self.send(Kind::Swim, to.node, &body);
        }
        while let Some((after, timer)) = outcome.to_schedule() {
            self.agenda.add(now + after, Task::Swim(timer));
        }
        while let Some(notification) = outcome.to_notify() {
            self.note(notification);
        }
    }

    fn note(&mut self, notification: OwnedNotification<Life>) {
        match notification {
            OwnedNotification::MemberUp(life) if self.up.insert(life.node) => {
                self.events.push_back(MemberEvent::Up(life.node));
            }
            OwnedNotification::MemberDown(life) if self.up.remove(&life.node) => {
                self.events.push_back(MemberEvent::Down(life.node));
            }
            OwnedNotification::Rejoin(_) => log::info!("the cluster took this node for dead; it joined again"),
            _ => {}
        }
    }
}
