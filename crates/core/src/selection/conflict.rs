//! One winner for every matcher.
//!
//! Guarantees: no two flows of the result have the same matcher, and every flow that lost is counted once,
//! with its winner. Leaves out: matchers that overlap without being equal; precedence decides among those.

use std::collections::BTreeMap;

use crate::selection::rank::{self, Candidate};
use crate::selection::{Flow, FlowMatch, PathKey};

/// What became of the flows of one wish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Flows in force: its own, or equal ones of another wish.
    pub kept: usize,
    /// Flows that another wish sends elsewhere, by the number of that wish.
    pub lost: BTreeMap<usize, usize>,
}

/// Flows in order of precedence, each matcher once, and one tally per wish.
pub(super) fn resolve(mut candidates: Vec<Candidate>, wishes: usize) -> (Vec<Flow>, Vec<Tally>) {
    candidates.sort_by(rank::precedence);
    let mut winners: BTreeMap<FlowMatch, (usize, PathKey)> = BTreeMap::new();
    let mut tallies = vec![Tally::default(); wishes];
    let mut flows = Vec::new();
    for Candidate { flow, wish, .. } in candidates {
        let Some(tally) = tallies.get_mut(wish) else { continue };
        match winners.get(&flow.matcher) {
            None => {
                tally.kept += 1;
                winners.insert(flow.matcher.clone(), (wish, flow.path.clone()));
                flows.push(flow);
            }
            Some((_, path)) if *path == flow.path => tally.kept += 1,
            Some((winner, _)) => *tally.lost.entry(*winner).or_default() += 1,
        }
    }
    (flows, tallies)
}
