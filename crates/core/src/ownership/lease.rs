//! How long an owner may send.
//!
//! Guarantees: never longer than a lease from the sending of a question that a majority answered with its
//! support, or, of two candidates, of a probe that the next hop answered.

use super::peer::Scene;
use super::unit::Unit;
use super::{GUARD, LEASE, Millis};

impl Unit {
    /// The moment from which a majority backs the claim of `since`.
    pub(super) fn backed(&self, scene: &Scene<'_>, since: u64) -> Option<Millis> {
        let others = self.order.iter().filter(|node| **node != scene.me);
        let mut stamps: Vec<Millis> = others.filter_map(|node| scene.supported(*node, since)).collect();
        stamps.extend(self.order.contains(&scene.me).then_some(scene.now));
        stamps.sort_unstable_by(|one, other| other.cmp(one));
        stamps.get(self.majority() - 1).copied()
    }

    /// Moves the start of the lease of a held identity forward as far as support goes.
    pub(super) fn extend(&mut self, scene: &Scene<'_>) {
        let Some(own) = self.own.filter(super::unit::Own::holds) else { return };
        let backed = if self.alone() { Some(scene.now) } else { self.backed(scene, own.since).max(self.witness()) };
        let stamp = backed.map_or(own.stamp, |stamp| stamp.max(own.stamp));
        self.own = Some(super::unit::Own { stamp, ..own });
    }

    /// When the permission to send ends; `None` = nothing held, or held without end.
    pub(super) fn lease_end(&self) -> Option<Millis> {
        self.own.filter(|_| self.is_leased()).map(|own| own.stamp.plus(LEASE))
    }

    pub(super) fn is_lease_over(&self, now: Millis) -> bool {
        self.lease_end().is_some_and(|end| end <= now.plus(GUARD))
    }
}
