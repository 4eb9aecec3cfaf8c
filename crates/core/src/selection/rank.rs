//! Which of two flows is tried first.
//!
//! Guarantees: a total order, so that a result never depends on the order of its input. Leaves out: what
//! happens to a flow that can never match because of an earlier one.

use std::cmp::{Ordering, Reverse};

use crate::model::PortRange;
use crate::selection::wish::Wish;
use crate::selection::{Flow, FlowMatch};

/// A flow that asks for its place.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// The flow.
    pub flow: Flow,
    /// Place of its wish in the order of [`standing`].
    pub wish: usize,
    /// Place of its entry in the wish.
    pub entry: usize,
}

/// How special a matcher is, the most special first: narrow source ports, then narrow destination ports,
/// then a long destination prefix. A field that is absent comes last.
pub(super) fn specificity(matcher: &FlowMatch) -> (u32, u32, Reverse<Option<u8>>) {
    let width = |ports: Option<PortRange>| ports.map_or(u32::MAX, |p| u32::from(p.last.saturating_sub(p.first)));
    let prefix = matcher.destination.map(|network| network.prefix());
    (width(matcher.source_ports), width(matcher.destination_ports), Reverse(prefix))
}

/// Order in which flows are tried.
pub(super) fn precedence(a: &Candidate, b: &Candidate) -> Ordering {
    specificity(&a.flow.matcher)
        .cmp(&specificity(&b.flow.matcher))
        .then_with(|| (a.wish, a.entry).cmp(&(b.wish, b.entry)))
        .then_with(|| a.flow.cmp(&b.flow))
}

/// Order among wishes whose flows are equally special: by kind of origin, then the older object, then the
/// smaller name. An object of unknown age counts as younger than every object of known age.
pub(super) fn standing(a: &Wish<'_>, b: &Wish<'_>) -> Ordering {
    let age = |wish: &Wish<'_>| (wish.created.is_empty(), wish.created.to_owned());
    a.origin.cmp(&b.origin).then_with(|| age(a).cmp(&age(b))).then_with(|| a.owner.cmp(&b.owner))
}
