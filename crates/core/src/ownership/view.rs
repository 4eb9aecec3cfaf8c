//! Questions to the machine.

use std::collections::BTreeMap;

use super::peer::Scene;
use super::unit::Unit;
use super::{Claim, Identity, LATE, LEASE, MARGIN, Machine, Millis, NodeNumber, PAUSE, PROBE, RENEW, Stage, Table};

impl Machine {
    /// This node's table as published last.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Owners of everything that anybody claims, also of what this node is no candidate for: those with the highest epochs.
    #[must_use]
    pub fn owners(&self) -> BTreeMap<&Identity, NodeNumber> {
        let own = self.table.rows.iter().map(|row| (self.me, row));
        let tables = self.peers.iter().filter_map(|(node, peer)| Some((*node, peer.table.as_ref()?)));
        let rows = own.chain(tables.flat_map(|(node, table)| table.rows.iter().map(move |row| (node, row))));
        let mut found = BTreeMap::<&Identity, (u64, NodeNumber)>::new();
        for (node, (identity, row)) in rows {
            let Some(claim) = row.claim.filter(Claim::owns) else { continue };
            let seen = self.units.get(identity).map_or(0, |unit| unit.seen);
            if claim.epoch >= seen {
                let best = found.entry(identity).or_insert((claim.epoch, node));
                *best = (*best).max((claim.epoch, node));
            }
        }
        found.into_iter().map(|(identity, (_, node))| (identity, node)).collect()
    }

    /// The owner with the highest epoch known, and the epoch.
    #[must_use]
    pub fn owner_of(&self, identity: &Identity) -> Option<(NodeNumber, u64)> {
        let unit = self.units.get(identity)?;
        let own = unit.own.map(|own| Claim { epoch: own.epoch, stage: own.stage });
        let peers = self.peers.iter().filter_map(|(node, peer)| {
            let claim = peer.table.as_ref()?.rows.get(identity)?.claim?;
            Some((*node, claim))
        });
        let claims = own.map(|claim| (self.me, claim)).into_iter().chain(peers);
        let owners = claims.filter(|(_, claim)| claim.owns() && claim.epoch >= unit.seen);
        owners.max_by_key(|(node, claim)| (claim.epoch, *node)).map(|(node, claim)| (node, claim.epoch))
    }

    /// Who would own after the present owner; connections are streamed there.
    #[must_use]
    pub fn next_candidate(&self, identity: &Identity, now: Millis) -> Option<NodeNumber> {
        let owner = self.owner_of(identity).map(|(node, _)| node)?;
        self.units.get(identity)?.successor(&self.scene(identity, now), owner)
    }

    /// Whether the kernel must permit this identity only while the lease runs: it has other candidates.
    #[must_use]
    pub fn needs_lease(&self, identity: &Identity) -> bool {
        self.units.get(identity).is_some_and(|unit| !unit.alone())
    }

    /// Whether anything is still held; a leaving helper ends when not.
    #[must_use]
    pub fn holds_anything(&self) -> bool {
        self.units.values().any(Unit::holds)
    }

    /// When [`super::Input::Tick`] is due at the latest, which may be past when this is asked long after the last input;
    /// `None` = not before another input.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Millis> {
        let now = self.settled;
        let ask = self.is_asking(now).then_some(self.asked.plus(RENEW));
        let units = self.units.iter().flat_map(|(identity, unit)| unit.deadlines(&self.scene(identity, now)));
        units.chain(ask).chain([self.bound_until]).filter(|at| *at > now).min()
    }
}

impl Unit {
    /// Moments at which something may have to happen; those before the last decision mean nothing.
    fn deadlines(&self, scene: &Scene<'_>) -> Vec<Millis> {
        let binding = self.binding_end(scene);
        let late = binding.map(|end| Millis(end.0.saturating_sub(LEASE + MARGIN - LATE)));
        let pauses = scene.now.since(self.vacant) / PAUSE + 1;
        let turn = self.own.is_none().then(|| self.vacant.plus(pauses * PAUSE));
        let ends = self.own.filter(|own| own.stage != Stage::Owning).map(|own| own.deadline);
        let lease = self.lease_end().map(|end| Millis(end.0.saturating_sub(super::GUARD)));
        let probe = self.watch.probe.map(|started| started.plus(PROBE + 1));
        let hop = self.hop_probed.filter(|_| self.order.len() == 2).map(|at| at.plus(RENEW));
        let promises = self.promises.keys().filter_map(|node| scene.promise_to(*node));
        let single = [binding, late, turn, ends, lease, probe, hop, Some(self.watch.next), Some(self.retry)];
        single.into_iter().flatten().chain(promises).collect()
    }
}
