//! What this node thinks of the objects of the cluster, for whoever writes it into their status.
//!
//! Leaves out: what only other nodes know, as which of their pods are selected.

use std::collections::{BTreeMap, BTreeSet};

use sortie_core::address::counts;
use sortie_core::allocation::Giver;
use sortie_core::desired::NodeMatch;
use sortie_core::model::{Kind, LabelSelector, ObjectKey, ObjectName, Reason, Rejection, ServiceOutboundRoute};
use sortie_core::selection;
use sortie_kernel::Platform;

use super::Node;
use crate::due::{Due, Entry, Judged, Judgements, Tables, Verdict};

/// Kinds with a status of ours.
const KINDS: [Kind; 3] = [Kind::ServiceOutboundRoute, Kind::EgressPolicy, Kind::AddressPool];

impl<P: Platform> Node<P> {
    /// What the API should say by what is known now.
    pub(crate) fn due(&self) -> Due {
        let taken = self.foreign_tables.clone();
        let range = self.settings.numbers.tables;
        Due {
            addresses: self.due.clone(),
            tables: taken.map(|taken| Tables { range, taken }),
            judged: self.judged.clone(),
            entries: self.entries(),
        }
    }

    /// Whether a route has no table only because nobody gave it one yet.
    pub(crate) fn awaits_tables(&self) -> bool {
        self.settings.giver == Giver::Cluster && self.unnumbered.iter().any(|(_, why)| why.reason == Reason::Pending)
    }

    /// Where packets of this node cannot leave by a route that admits it.
    fn entries(&self) -> Option<BTreeMap<String, Entry>> {
        let skeleton = self.skeleton.as_ref()?;
        let admitted = |route: &str| skeleton.exits.get(route).is_some_and(|e| e.node_matches == NodeMatch::Admitted);
        let unreachable = skeleton.conditions.iter().filter(|c| !c.holds && c.kind == "NextHopsReachable");
        let unreachable = unreachable.filter(|condition| admitted(&condition.object.name.name));
        let unusable = self
            .unnumbered
            .iter()
            .filter(|(key, why)| key.kind == Kind::ServiceOutboundRoute && why.reason != Reason::Pending);
        let told = unreachable.map(|c| (&c.object.name.name, c.reason, c.message.clone()));
        let told = told.chain(unusable.map(|(key, why)| (&key.name.name, why.reason, refusal(why).message)));
        let entry = |(name, reason, message): (&String, Reason, String)| {
            let uid = self.world.routes.get(name)?.meta.uid.clone();
            Some((name.clone(), Entry { uid, reason, message }))
        };
        Some(told.filter_map(entry).collect())
    }

    /// Depends on the world and what is refused of it, and on nothing else.
    pub(super) fn judgements(&self) -> Judgements {
        let mut judged = Judgements::new();
        for condition in selection::conditions(&self.world, &[]) {
            let is_ours = KINDS.contains(&condition.object.kind) && condition.kind == "Accepted";
            if is_ours {
                let (holds, reason, message) = (condition.holds, condition.reason, condition.message);
                self.judge(&mut judged, condition.object, Verdict { holds, reason, message });
            }
        }
        for pool in self.world.pools.keys() {
            let name = ObjectName { namespace: String::new(), name: pool.clone() };
            let accepted = Verdict { holds: true, reason: Reason::Accepted, message: "accepted".to_owned() };
            self.judge(&mut judged, ObjectKey { kind: Kind::AddressPool, name }, accepted);
        }
        for rejection in &self.refused {
            if let Some(object) = named(&rejection.object) {
                self.judge(&mut judged, object, refusal(rejection));
            }
        }
        judged
    }

    fn judge(&self, judged: &mut Judgements, ObjectKey { kind, name }: ObjectKey, accepted: Verdict) {
        let mut found = Judged::only(accepted);
        match kind {
            Kind::ServiceOutboundRoute => {
                if let Some(route) = self.world.routes.get(&name.name) {
                    found.uid.clone_from(&route.meta.uid);
                    (found.tables, found.exits) = ((route.table_id, route.given_table), self.may_exit(route));
                }
            }
            Kind::EgressPolicy => {
                found.uid = self.world.policies.get(&name).map(|policy| policy.meta.uid.clone()).unwrap_or_default();
            }
            _ => {
                if let Some(pool) = self.world.pools.get(&name.name) {
                    found.uid.clone_from(&pool.meta.uid);
                    found.counts = counts(&self.world, pool);
                }
            }
        }
        judged.entry(kind).or_default().insert(name, found);
    }

    /// Nodes that have a helper and that the route admits.
    fn may_exit(&self, route: &ServiceOutboundRoute) -> BTreeSet<String> {
        let admits = |labels| route.node_selector.as_ref().is_none_or(|s| LabelSelector::matches(s, labels));
        let nodes = self.world.nodes.values().filter(|node| node.number.is_some() && admits(&node.meta.labels));
        nodes.map(|node| node.name.clone()).collect()
    }
}

/// The object of ours that a refusal names.
fn named(object: &str) -> Option<ObjectKey> {
    let (kind, name) = object.split_once(' ')?;
    let kind = KINDS.into_iter().find(|known| format!("{known:?}") == kind)?;
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    Some(ObjectKey { kind, name: ObjectName { namespace: namespace.to_owned(), name: name.to_owned() } })
}

fn refusal(Rejection { reason, field, message, remedy, .. }: &Rejection) -> Verdict {
    Verdict { holds: false, reason: *reason, message: format!("{field}: {message}; {remedy}") }
}
