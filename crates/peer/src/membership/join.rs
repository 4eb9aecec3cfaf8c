//! Reaching the peers that are not up.

use std::ops::Bound::{Excluded, Unbounded};
use std::time::Instant;

use super::Membership;

/// How many peers are asked at once by a node that knows nobody.
const FIRST: usize = 3;

impl Membership {
    /// Asks some peers to let this node join.
    pub(super) fn join(&mut self, now: Instant) {
        for _ in 0..FIRST.min(self.peers.len()) {
            self.join_one(now);
        }
    }

    /// Asks the next peer that is not up, each in its turn; nodes start with different ones.
    pub(super) fn join_one(&mut self, now: Instant) {
        let after = self.peers.range((Excluded(self.asked), Unbounded));
        let mut turn = after.chain(self.peers.range(..=self.asked)).map(|(node, _)| *node);
        if let Some(node) = turn.find(|node| !self.up.contains(node)) {
            self.asked = node;
            self.announce(now, node);
        }
    }
}
