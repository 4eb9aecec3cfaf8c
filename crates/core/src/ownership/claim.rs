//! The way of this node's own claim: standing, taking, owning, handing over.
//!
//! Guarantees: an owner gives up before its lease ends, and at once for a higher claim; it hands over when it
//! leaves, or when another could and it cannot.

use super::peer::{Scene, Staying};
use super::unit::{Own, Unit};
use super::{Action, Ballot, Consent, Fitness, HANDOVER, LEASE, NodeNumber, PAUSE, Stage};

impl Unit {
    /// Everything that follows from what changed.
    pub(super) fn settle(&mut self, scene: &Scene<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.review(scene);
        self.extend(scene);
        actions.extend(self.give_up(scene));
        self.raise(scene);
        self.vote(scene);
        self.stand(scene);
        actions.extend(self.take(scene));
        self.look(scene, &mut actions);
        actions
    }

    fn give_up(&mut self, scene: &Scene<'_>) -> Option<Action> {
        let own = self.own?;
        if !own.holds() {
            self.step_back(scene, own);
            return None;
        }
        if let Some(rival) = self.rival(scene, own) {
            return Some(self.withdraw(scene, Some(rival)));
        }
        if self.is_lease_over(scene.now) {
            return Some(self.withdraw(scene, None));
        }
        match own.stage {
            Stage::HandingOver(_) if scene.now >= own.deadline => Some(self.withdraw(scene, None)),
            Stage::HandingOver(to) => self.redirect(scene, own, to),
            _ => self.hand_over(scene, own),
        }
    }

    /// Names another successor when the one that was asked says it cannot any more. One that merely fell silent
    /// may own already.
    fn redirect(&mut self, scene: &Scene<'_>, own: Own, former: NodeNumber) -> Option<Action> {
        scene.row(former).filter(|row| row.fitness == Fitness::Unfit && row.claim.is_none())?;
        let to = self.successor(scene, scene.me)?;
        self.own = Some(Own { stage: Stage::HandingOver(to), ..own });
        Some(Action::HandOver { identity: scene.identity.clone(), to })
    }

    /// Who owns with a higher epoch, or with the same and a smaller number.
    fn rival(&self, scene: &Scene<'_>, own: Own) -> Option<NodeNumber> {
        let beats = |node: NodeNumber, epoch: u64| epoch > own.epoch || (epoch == own.epoch && node < scene.me);
        let owners = scene.rows().filter_map(|(node, row)| Some((node, row.claim.filter(|claim| claim.owns())?)));
        owners.filter(|(node, claim)| beats(*node, claim.epoch)).map(|(node, _)| node).next()
    }

    /// Who was asked to take over sends with the consent of this node, and what others still send here passes until
    /// they have heard of it.
    pub(super) fn withdraw(&mut self, scene: &Scene<'_>, successor: Option<NodeNumber>) -> Action {
        let handed = |own: &Own| matches!(own.stage, Stage::HandingOver(to) if Some(to) == successor);
        self.passes = self.lease_end().filter(|_| self.own.as_ref().is_some_and(handed));
        self.own = None;
        self.retry = scene.now.plus(PAUSE);
        Action::Withdraw { identity: scene.identity.clone(), successor }
    }

    fn hand_over(&mut self, scene: &Scene<'_>, own: Own) -> Option<Action> {
        if self.is_able(scene) {
            return None;
        }
        let goes = scene.staying == Staying::Leaves || !self.order.contains(&scene.me);
        let successor = self.successor(scene, scene.me).filter(|_| own.stage == Stage::Owning);
        let Some(to) = successor else { return goes.then(|| self.withdraw(scene, None)) };
        self.own = Some(Own { stage: Stage::HandingOver(to), deadline: scene.now.plus(HANDOVER), ..own });
        Some(Action::HandOver { identity: scene.identity.clone(), to })
    }

    /// Ends a candidacy that is hopeless, took too long, or is in the way of a better one.
    fn step_back(&mut self, scene: &Scene<'_>, own: Own) {
        if scene.now >= own.deadline || !self.is_able(scene) {
            self.own = None;
            self.retry = scene.now.plus(PAUSE);
        } else if self.is_preceded(scene) {
            self.own = None;
        }
    }

    /// Whether somebody asks whose claim comes before one that this node might make.
    pub(super) fn is_preceded(&self, scene: &Scene<'_>) -> bool {
        self.order.iter().any(|node| self.comes_first(scene, *node))
    }

    fn comes_first(&self, scene: &Scene<'_>, node: NodeNumber) -> bool {
        let claim = scene.row(node).and_then(|row| row.claim);
        let Some(claim) = claim.filter(|_| node != scene.me && scene.promise_to(node).is_some()) else { return false };
        let handed = |to: NodeNumber| self.is_handed(scene, |next| next == to);
        match claim.stage {
            _ if handed(scene.me) => false,
            Stage::Standing => handed(node) || self.place(node) < self.place(scene.me),
            Stage::Taking | Stage::Owning | Stage::HandingOver(_) => true,
        }
    }

    /// Raises the epoch over that of a candidate which would support this node, but knows of a higher one.
    fn raise(&mut self, scene: &Scene<'_>) {
        let Some(own) = self.own.filter(|own| !matches!(own.stage, Stage::HandingOver(_))) else { return };
        let mine = Ballot { epoch: own.epoch, node: scene.me };
        let outgrown = scene.rows().any(|(_, row)| {
            let free = row.claim.is_none() && !row.supports.contains_key(&scene.me);
            free && row.ballot != mine && row.ballot.epoch >= own.epoch
        });
        if outgrown {
            let epoch = self.next_epoch(scene);
            self.ballot = Ballot { epoch, node: scene.me };
            self.own = Some(Own { epoch, ..own });
        }
    }

    /// Takes what this node stands for, once it is backed and nobody else is on the wire.
    fn take(&mut self, scene: &Scene<'_>) -> Option<Action> {
        let own = self.own.filter(|own| !own.holds() && self.is_wire_free(scene))?;
        let witness = self.witness().filter(|_| self.is_long_silent(scene.now));
        let stamp = self.backed(scene, own.since).max(witness)?;
        if stamp.plus(LEASE / 2) <= scene.now {
            return None;
        }
        self.own = Some(Own { stage: Stage::Taking, stamp, ..own });
        let consent = if self.is_handed(scene, |to| to == scene.me) { Consent::Given } else { Consent::Missing };
        Some(Action::Claim { identity: scene.identity.clone(), epoch: own.since, consent })
    }

    pub(super) fn programmed(&mut self, epoch: u64) {
        let taken = self.own.filter(|own| own.stage == Stage::Taking && own.since == epoch);
        let Some(own) = taken else { return };
        self.own = Some(Own { stage: Stage::Owning, ..own });
        self.seen = self.seen.max(own.epoch);
    }
}
