//! When a node stands for an identity.
//!
//! Guarantees: nobody stands beside an owner that asks; the candidates come one after the other.

use super::peer::Scene;
use super::unit::{Own, Unit};
use super::{Ballot, Fitness, LATE, LEASE, MARGIN, Millis, NodeNumber, PAUSE, Row, STAND, Stage};

fn claims(row: &Row) -> bool {
    row.claim.is_some()
}

/// Whether this node comes into question as the next owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    None,
    /// It would be next, should the owner be gone.
    Waits,
    /// It may stand, or does.
    Stands,
}

impl Unit {
    pub(super) fn place(&self, node: NodeNumber) -> Option<usize> {
        self.order.iter().position(|candidate| *candidate == node)
    }

    /// Whether a live holder hands over to a node such as `to`.
    pub(super) fn is_handed(&self, scene: &Scene<'_>, to: impl Fn(NodeNumber) -> bool) -> bool {
        scene.rows().any(|(node, row)| {
            let stage = row.claim.map(|claim| claim.stage);
            matches!(stage, Some(Stage::HandingOver(next)) if to(next)) && scene.promise_to(node).is_some()
        })
    }

    /// Until when the last question of each node in the way binds: those supported, and those that own.
    fn bindings(&self, scene: &Scene<'_>) -> impl Iterator<Item = (NodeNumber, Millis)> {
        self.order.iter().filter_map(|node| {
            let holds = || scene.row(*node)?.claim.filter(|claim| claim.stage != Stage::Standing);
            let binds = self.promises.contains_key(node) || holds().is_some();
            let until = scene.promise_to(*node)?;
            (*node != scene.me && binds && !self.consents(scene, *node, scene.me)).then_some((*node, until))
        })
    }

    pub(super) fn binding_end(&self, scene: &Scene<'_>) -> Option<Millis> {
        self.bindings(scene).map(|(_, until)| until).max()
    }

    pub(super) fn interest(&self, scene: &Scene<'_>) -> Interest {
        if self.own.is_some_and(|own| !own.holds()) {
            return Interest::Stands;
        }
        if self.own.is_some() || !self.is_able(scene) || !self.is_turn(scene) {
            return Interest::None;
        }
        let left = self.binding_end(scene).map_or(0, |until| until.since(scene.now));
        let quiet = scene.now >= self.retry && (self.alone() || scene.now >= scene.bound_until);
        match left {
            0 if quiet && self.has_company(scene) && !self.is_preceded(scene) => Interest::Stands,
            left if left <= LEASE + MARGIN - LATE => Interest::Waits,
            _ => Interest::None,
        }
    }

    /// The first of the live and fit, and with every pause one more, should those before not come forward.
    fn is_turn(&self, scene: &Scene<'_>) -> bool {
        if self.is_handed(scene, |to| to == scene.me) {
            return true;
        }
        if self.is_handed(scene, |to| to != scene.me) {
            return false;
        }
        let fit = |node: NodeNumber| scene.row(node).is_none_or(|row| row.fitness == Fitness::Fit);
        let fallen = |node: NodeNumber| scene.promise_to(node).is_none() && scene.row(node).is_some_and(claims);
        let late = |node: NodeNumber| fallen(node) || self.bindings(scene).any(|(binding, _)| binding == node);
        let before = self.order.iter().take_while(|node| **node != scene.me);
        let rivals = before.filter(|node| scene.is_up(**node) && fit(**node) && !late(**node)).count();
        scene.now.since(self.vacant) / PAUSE >= rivals as u64
    }

    /// Whether enough others live to be elected; of two candidates the next hop may stand in.
    fn has_company(&self, scene: &Scene<'_>) -> bool {
        let up = self.order.iter().filter(|node| scene.is_up(**node)).count();
        up + 1 >= self.majority() || self.witness().is_some()
    }

    /// Begins to stand, or notes since when one could.
    pub(super) fn stand(&mut self, scene: &Scene<'_>) {
        if self.holds() || self.binding_end(scene).is_some() {
            self.vacant = scene.now;
        }
        if self.own.is_some() || self.interest(scene) != Interest::Stands {
            return;
        }
        let epoch = self.next_epoch(scene);
        self.ballot = Ballot { epoch, node: scene.me };
        let deadline = scene.now.plus(STAND);
        self.own = Some(Own { since: epoch, epoch, stage: Stage::Standing, stamp: scene.now, deadline });
    }
}
