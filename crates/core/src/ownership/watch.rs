//! Looking at the wire and at the next hop.
//!
//! Guarantees: silence is one unbroken row of probes, each of which came back in time.

use super::interest::Interest;
use super::peer::Scene;
use super::unit::Unit;
use super::{ANSWERED, Action, LEASE, MARGIN, Millis, PAUSE, PROBE, Presence, RENEW, Sighting, Stage};

/// What is known of the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    /// Start of the probe under way.
    pub(super) probe: Option<Millis>,
    /// Before this moment there is no other probe: who answers answers at once, and would be asked again at once.
    pub(super) next: Millis,
    /// Since when nobody answered.
    silent: Option<Millis>,
    /// When a stranger answered last.
    stranger: Option<Millis>,
}

impl Unit {
    /// Takes in the result of the probe begun at `started`.
    pub(super) fn sighted(&mut self, scene: &Scene<'_>, started: Millis, sighting: Sighting) -> Option<Action> {
        if self.watch.probe != Some(started) {
            return None;
        }
        self.watch.probe = None;
        if matches!(sighting, Sighting::Owner(_) | Sighting::Stranger) {
            self.watch.next = scene.now.plus(ANSWERED);
        }
        let in_time = scene.now.since(started) <= PROBE;
        if in_time && self.is_silence(scene, sighting) {
            self.watch.silent.get_or_insert(started);
            return None;
        }
        self.watch.silent = None;
        if sighting == Sighting::Stranger { self.meet_stranger(scene) } else { None }
    }

    /// Of two that probe at once the later in the order begins again. Among more the votes decide: who is cut off
    /// from the others may still answer when they have a majority, but does not send any more.
    fn is_silence(&self, scene: &Scene<'_>, sighting: Sighting) -> bool {
        match sighting {
            Sighting::Nobody => true,
            Sighting::Prober(node) => self.order.len() != 2 || self.place(scene.me) < self.place(node),
            Sighting::Owner(node) => self.order.len() > 2 && !scene.is_up(node),
            Sighting::Stranger => false,
        }
    }

    /// Reports a stranger once, for as long as it answers.
    fn meet_stranger(&mut self, scene: &Scene<'_>) -> Option<Action> {
        self.own = self.own.filter(super::unit::Own::holds);
        self.retry = scene.now.plus(PAUSE);
        let known = self.watch.stranger.replace(scene.now).is_some_and(|last| scene.now.since(last) <= PAUSE);
        (!known).then(|| Action::Conflict(scene.identity.clone()))
    }

    /// Probes for as long as this node may come to own.
    pub(super) fn look(&mut self, scene: &Scene<'_>, actions: &mut Vec<Action>) {
        let hop_due = self.hop_probed.is_none_or(|at| scene.now >= at.plus(RENEW));
        if self.has_witness() && self.order.contains(&scene.me) && hop_due {
            self.hop_probed = Some(scene.now);
            actions.push(Action::ProbeNextHop(scene.identity.clone()));
        }
        if self.interest(scene) == Interest::None || self.device == Presence::Down {
            self.watch = Watch::default();
            return;
        }
        if self.watch.probe.is_some_and(|started| scene.now.since(started) <= PROBE) {
            return;
        }
        if self.watch.probe.is_none() && scene.now < self.watch.next {
            return;
        }
        if self.watch.probe.is_some() {
            self.watch.silent = None;
        }
        self.watch.probe = Some(scene.now);
        actions.push(Action::ProbeOnWire { identity: scene.identity.clone(), started: scene.now });
    }

    fn has_witness(&self) -> bool {
        self.order.len() == 2
    }

    /// When the next hop was last seen, if its word counts as the other candidate's.
    pub(super) fn witness(&self) -> Option<Millis> {
        self.reached.filter(|_| self.has_witness() && self.device == Presence::Up)
    }

    /// Whether the wire was silent for long enough to do without the other candidate's promise: an owner
    /// that was paused does not answer, but may send until its lease ends.
    pub(super) fn is_long_silent(&self, now: Millis) -> bool {
        self.watch.silent.is_some_and(|since| now.since(since) >= LEASE + MARGIN)
    }

    /// Whether nobody else answers for the addresses, but those who hand them to this node.
    pub(super) fn is_wire_free(&self, scene: &Scene<'_>) -> bool {
        let handed = self.is_handed(scene, |to| to == scene.me);
        handed || self.watch.silent.is_some() || self.own.is_some_and(|own| own.stage != Stage::Standing)
    }
}
