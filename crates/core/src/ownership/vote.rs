//! Whom this node supports.
//!
//! Guarantees: supports a claim beside another only if the holder of the other consents; drops a support only
//! when it was given back, or was not asked for during lease and margin.

use super::peer::Scene;
use super::unit::Unit;
use super::{Ballot, Claim, NodeNumber, Stage};

impl Unit {
    /// Drops and follows the claims supported, and notes what others own.
    pub(super) fn review(&mut self, scene: &Scene<'_>) {
        let claim = |node: NodeNumber| scene.row(node).and_then(|row| row.claim);
        self.promises.retain(|node, _| scene.promise_to(*node).is_some() && claim(*node).is_some());
        for (node, epoch) in &mut self.promises {
            *epoch = claim(*node).map_or(*epoch, |claim| claim.epoch);
            self.ballot = self.ballot.max(Ballot { epoch: *epoch, node: *node });
        }
        for (node, claim) in scene.rows().filter_map(|(node, row)| Some((node, row.claim.filter(Claim::owns)?))) {
            self.seen = self.seen.max(claim.epoch);
            self.ballot = self.ballot.max(Ballot { epoch: claim.epoch, node });
        }
    }

    /// Supports who asks and may be supported, owners before those who want to be.
    pub(super) fn vote(&mut self, scene: &Scene<'_>) {
        if scene.now < scene.bound_until || !self.order.contains(&scene.me) {
            return;
        }
        let claims = self.order.iter().filter_map(|node| Some((*node, scene.row(*node)?.claim?)));
        let (standing, holding): (Vec<_>, Vec<_>) = claims.partition(|(_, claim)| claim.stage == Stage::Standing);
        for (node, claim) in holding.into_iter().chain(standing) {
            let ballot = Ballot { epoch: claim.epoch, node };
            if self.may_support(scene, ballot) {
                self.promises.insert(node, ballot.epoch);
                self.ballot = ballot;
            }
        }
    }

    fn may_support(&self, scene: &Scene<'_>, ballot: Ballot) -> bool {
        let node = ballot.node;
        let asks = node != scene.me && scene.promise_to(node).is_some();
        let newer = ballot == self.ballot || ballot.epoch > self.ballot.epoch;
        let free = self.own.is_none() || self.consents(scene, scene.me, node);
        asks && newer && free && !self.promises.contains_key(&node) && !self.is_bound(scene, node)
    }

    /// Whether a promise to somebody else forbids to support `node`.
    pub(super) fn is_bound(&self, scene: &Scene<'_>, node: NodeNumber) -> bool {
        self.promises.keys().any(|holder| *holder != node && !self.consents(scene, *holder, node))
    }

    /// An epoch above all that anybody supports or owns with.
    pub(super) fn next_epoch(&self, scene: &Scene<'_>) -> u64 {
        let heard = scene.rows().map(|(_, row)| row.ballot.epoch.max(row.claim.map_or(0, |claim| claim.epoch)));
        heard.fold(self.ballot.epoch.max(self.seen), u64::max).saturating_add(1)
    }
}
