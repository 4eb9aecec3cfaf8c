//! Going on after a restart of the helper.
//!
//! Guarantees: what was owned is owned again only while the lease still runs or nobody else could have it;
//! everything else of the saved table is only a memory of epochs.

use super::peer::Scene;
use super::unit::{Own, Unit};
use super::{Action, GUARD, LEASE, Millis, Row, Stage};

impl Unit {
    /// Takes in the saved row; `lease` is the end of the kernel's permission, if it is there.
    pub(super) fn remember(&mut self, scene: &Scene<'_>, row: &Row, lease: Option<Millis>) -> Option<Action> {
        self.ballot = self.ballot.max(row.ballot);
        let claim = row.claim.filter(|claim| claim.stage != Stage::Standing)?;
        self.seen = self.seen.max(claim.epoch);
        let stamp = if self.alone() { Some(scene.now) } else { stamp(scene.now, lease) };
        match stamp {
            Some(stamp) if claim.stage == Stage::Owning && self.order.contains(&scene.me) => {
                let (since, epoch, stage) = (claim.epoch, claim.epoch, Stage::Owning);
                self.own = Some(Own { since, epoch, stage, stamp, deadline: scene.now });
                None
            }
            _ => Some(Action::Withdraw { identity: scene.identity.clone(), successor: None }),
        }
    }
}

/// Start of a lease that still runs.
fn stamp(now: Millis, lease: Option<Millis>) -> Option<Millis> {
    let end = lease.filter(|end| *end > now.plus(GUARD) && *end <= now.plus(LEASE))?;
    Some(Millis(end.0.saturating_sub(LEASE)))
}
