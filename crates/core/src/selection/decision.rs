//! The decision for one pod, with an account of every wish.
//!
//! Guarantees: flows, refusal and reports come from one and the same judgement. Leaves out: what objects
//! look like that ask for no pod of this node.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Attachment, ObjectKey, Reason, Rejection};
use crate::selection::conflict::{self, Tally};
use crate::selection::expand::LIMIT;
use crate::selection::judge::{self, Verdict};
use crate::selection::rank::{self, Candidate};
use crate::selection::wish::{self, Subject, Wish};
use crate::selection::{Asked, Flow, FlowMatch, PathKey};
use crate::world::World;

/// All that is decided for one pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Decision {
    /// Flows in order of precedence.
    pub flows: Vec<Flow>,
    /// Why the pod may not start, if so.
    pub refusal: Option<Rejection>,
    /// One per wish.
    pub reports: Vec<Report>,
}

/// What became of one wish.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// Object that asked.
    pub owner: ObjectKey,
    /// Why some of its entries are not in force as written.
    pub problems: Vec<Rejection>,
    /// Paths it asks for.
    pub paths: BTreeSet<PathKey>,
    /// Flows in force.
    pub kept: usize,
    /// Flows lost, by the object that won them.
    pub lost: BTreeMap<ObjectKey, usize>,
}

impl Report {
    /// For whoever counts pods.
    pub(super) fn into_asked(self) -> Asked {
        let refused = self.problems.first().map(|problem| (problem.reason, problem.to_string()));
        let winner = self.lost.keys().next().filter(|_| self.kept == 0);
        let beaten = winner.map(|winner| (Reason::Conflicted, format!("{winner} wins all of its flows")));
        Asked { owner: self.owner, paths: self.paths, problem: refused.or(beaten) }
    }
}

/// Decides for one attachment. A pod on the host's network is never selected.
pub(super) fn decide(world: &World, attachment: &Attachment) -> Decision {
    let subject = Subject::of(world, attachment);
    if subject.is_host() {
        return Decision::default();
    }
    let (wishes, judged) = judged(world, attachment, &subject);
    let refusal = wishes.iter().zip(&judged).find_map(|(wish, verdicts)| refusal(wish, verdicts));
    let (flows, tallies) = conflict::resolve(candidates(&judged), wishes.len());
    let reports = judged
        .into_iter()
        .zip(tallies)
        .enumerate()
        .filter_map(|(i, (v, tally))| report(&wishes, i, v, tally))
        .collect();
    if flows.len() > LIMIT {
        let refusal = refusal.or_else(|| Some(too_many(attachment, flows.len())));
        return Decision { flows: everything_closed(), refusal, reports };
    }
    Decision { flows, refusal, reports }
}

/// All wishes in the order of their standing, and what is thought of their entries.
pub(super) fn judged<'a>(
    world: &'a World,
    attachment: &'a Attachment,
    subject: &Subject<'a>,
) -> (Vec<Wish<'a>>, Vec<Vec<Verdict>>) {
    let mut wishes = wish::collect(world, attachment, subject);
    wishes.sort_by(rank::standing);
    let judged = wishes.iter().map(|wish| entries(world, subject, wish)).collect();
    (wishes, judged)
}

/// The verdict on every entry of a wish; one verdict if it cannot be read.
pub(super) fn entries(world: &World, subject: &Subject<'_>, wish: &Wish<'_>) -> Vec<Verdict> {
    match &wish.asks {
        Ok(asks) => asks.iter().map(|egress| judge::judge(world, subject, wish, egress)).collect(),
        Err(rejection) => vec![Verdict { flows: Vec::new(), problem: Some(rejection.clone()) }],
    }
}

fn refusal(wish: &Wish<'_>, verdicts: &[Verdict]) -> Option<Rejection> {
    let bad = verdicts.iter().find(|verdict| wish.origin.is_own() && verdict.is_bad_reference())?;
    bad.problem.clone()
}

/// Every flow of every verdict, with its place.
pub(super) fn candidates(judged: &[Vec<Verdict>]) -> Vec<Candidate> {
    let entries = judged
        .iter()
        .enumerate()
        .flat_map(|(wish, verdicts)| verdicts.iter().enumerate().map(move |(e, v)| (wish, e, v)));
    entries
        .flat_map(|(wish, entry, verdict)| {
            verdict.flows.iter().map(move |flow| Candidate { flow: flow.clone(), wish, entry })
        })
        .collect()
}

fn report(wishes: &[Wish<'_>], index: usize, verdicts: Vec<Verdict>, tally: Tally) -> Option<Report> {
    let owner = wishes.get(index)?.owner.clone();
    let mut lost = BTreeMap::new();
    for (winner, count) in tally.lost {
        *lost.entry(wishes.get(winner)?.owner.clone()).or_default() += count;
    }
    let paths = verdicts.iter().flat_map(|verdict| &verdict.flows).map(|flow| flow.path.clone()).collect();
    let problems = verdicts.into_iter().filter_map(|verdict| verdict.problem).collect();
    Some(Report { owner, problems, paths, kept: tally.kept, lost })
}

fn everything_closed() -> Vec<Flow> {
    vec![Flow { matcher: FlowMatch::default(), path: PathKey::Closed }]
}

fn too_many(attachment: &Attachment, count: usize) -> Rejection {
    Rejection {
        reason: Reason::Invalid,
        object: wish::owner(attachment).to_string(),
        field: "metadata.annotations and policies".to_owned(),
        message: format!("all that selects the pod makes {count} flows, more than {LIMIT}"),
        remedy: "use ranges of ports and larger networks, or fewer policies for the pod".to_owned(),
    }
}
