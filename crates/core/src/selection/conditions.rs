//! What every object is told about its wishes.
//!
//! Guarantees: one `Accepted` for each object that asks for something and for each route, at most one
//! `Conflicted`, in the order of the objects' keys. Leaves out: everything the kernel or other nodes know
//! (`Programmed`, `NextHopsReachable`, devices, exits).

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Attachment, Kind, ObjectKey, Pod, Reason, Rejection};
use crate::selection::Condition;
use crate::selection::decision::{self, Report};
use crate::selection::judge;
use crate::selection::service;
use crate::selection::wish::{self, Origin, Subject, Wish};
use crate::world::World;

/// Most winners that one message names.
const NAMED_WINNERS: usize = 4;

/// What is known about one object.
#[derive(Clone, Debug, Default)]
struct Record {
    problems: BTreeSet<(Reason, String)>,
    kept: usize,
    lost: BTreeMap<ObjectKey, usize>,
}

type Records = BTreeMap<ObjectKey, Record>;

/// Conditions of all objects.
pub(super) fn conditions(world: &World, attachments: &[&Attachment]) -> Vec<Condition> {
    let mut records = Records::new();
    routes(world, &mut records);
    objects(world, &mut records);
    host_pods(world, &mut records);
    for attachment in attachments {
        pod(world, attachment, &mut records);
    }
    records.into_iter().flat_map(|(object, record)| record.conditions(&object)).collect()
}

impl Record {
    fn add_problem(&mut self, problem: &Rejection) {
        self.problems.insert((problem.reason, problem.to_string()));
    }

    fn add(&mut self, report: Report) {
        report.problems.iter().for_each(|p| self.add_problem(p));
        self.kept += report.kept;
        for (winner, count) in report.lost {
            *self.lost.entry(winner).or_default() += count;
        }
    }

    fn conditions(&self, object: &ObjectKey) -> Vec<Condition> {
        let conflict = (!self.lost.is_empty()).then(|| self.conflict());
        let accepted = match (self.problems.first(), &conflict) {
            (Some((reason, message)), _) => (false, *reason, message.clone()),
            (None, Some(message)) if self.kept == 0 => (false, Reason::Conflicted, message.clone()),
            (None, _) => (true, Reason::Accepted, "accepted".to_owned()),
        };
        let condition =
            |kind, (holds, reason, message)| Condition { object: object.clone(), kind, holds, reason, message };
        let conflict = conflict.map(|message| condition("Conflicted", (true, Reason::Conflicted, message)));
        std::iter::once(condition("Accepted", accepted)).chain(conflict).collect()
    }

    fn conflict(&self) -> String {
        let count: usize = self.lost.values().sum();
        let winners: Vec<_> = self.lost.iter().take(NAMED_WINNERS).map(|(key, n)| format!("{n} to {key}")).collect();
        let more = self.lost.len().saturating_sub(NAMED_WINNERS);
        let rest = if more == 0 { String::new() } else { format!(" and the rest to {more} more") };
        format!(
            "{count} of {} flows lost: {}{rest}; narrow ports or destinations, or remove one of the objects",
            count + self.kept,
            winners.join(", "),
        )
    }
}

fn routes(world: &World, records: &mut Records) {
    for route in world.routes.values() {
        let key = ObjectKey { kind: Kind::ServiceOutboundRoute, name: wish::cluster_scoped(&route.name) };
        let record = records.entry(key).or_default();
        if let Some(problem) = judge::unusable(world, route) {
            record.add_problem(&problem);
        }
    }
}

/// Judges every object by itself, so that it has a condition before any pod of this node is selected by it.
fn objects(world: &World, records: &mut Records) {
    for policy in world.policies.values() {
        alone(world, &Subject::anyone(&policy.name.namespace), &Wish::policy(policy), records);
    }
    for object in world.services.values().filter(|s| service::asks(s)) {
        let subject = Subject::anyone(&object.name.namespace);
        alone(world, &subject, &Wish::service(object, &subject), records);
    }
    for namespace in world.namespaces.values().filter(|n| !n.egress.is_empty()) {
        let owner = ObjectKey { kind: Kind::Namespace, name: wish::cluster_scoped(&namespace.name) };
        let wish = Wish::plain(Origin::Namespace, owner, &namespace.meta.created, &namespace.egress);
        alone(world, &Subject::anyone(&namespace.name), &wish, records);
    }
    for pod in world.pods.values().filter(|p| !p.egress.is_empty()) {
        let wish = Wish::plain(Origin::Annotation, pod_key(pod), &pod.meta.created, &pod.egress);
        alone(world, &Subject::pod(pod), &wish, records);
    }
}

fn alone(world: &World, subject: &Subject<'_>, wish: &Wish<'_>, records: &mut Records) {
    let record = records.entry(wish.owner.clone()).or_default();
    let verdicts = decision::entries(world, subject, wish);
    verdicts.iter().filter_map(|v| v.problem.as_ref()).for_each(|p| record.add_problem(p));
}

fn host_pods(world: &World, records: &mut Records) {
    for pod in world.pods.values().filter(|p| p.host_network) {
        let asked = !pod.egress.is_empty() || !wish::by_others(world, &Subject::pod(pod)).is_empty();
        if asked {
            records.entry(pod_key(pod)).or_default().add_problem(&on_host(pod));
        }
    }
}

fn pod(world: &World, attachment: &Attachment, records: &mut Records) {
    let decision = decision::decide(world, attachment);
    if let Some(refusal) = &decision.refusal {
        records.entry(wish::owner(attachment)).or_default().add_problem(refusal);
    }
    for report in decision.reports {
        records.entry(report.owner.clone()).or_default().add(report);
    }
}

fn pod_key(pod: &Pod) -> ObjectKey {
    ObjectKey { kind: Kind::Pod, name: pod.name.clone() }
}

fn on_host(pod: &Pod) -> Rejection {
    Rejection {
        reason: Reason::Invalid,
        object: pod_key(pod).to_string(),
        field: "spec.hostNetwork".to_owned(),
        message: "a pod on the host's network shares the node's address and cannot be selected".to_owned(),
        remedy: "run the pod without hostNetwork, or let nothing select it".to_owned(),
    }
}
