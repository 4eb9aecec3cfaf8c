//! What this node thinks of the objects of the cluster, for whoever writes it into their status.
//!
//! Leaves out: what only other nodes know, as which of their pods are selected, and what this node has to say of its own
//! kernel and pods ([`super::entries`]).

use std::collections::BTreeSet;

use sortie_core::address::counts;
use sortie_core::allocation::Giver;
use sortie_core::model::{Kind, LabelSelector, ObjectKey, ObjectName, Reason};
use sortie_core::selection;
use sortie_kernel::Platform;

use super::Node;
use crate::due::{Due, Judged, Judgements, Tables, Verdict};

/// Kinds that are told what is thought of them.
const KINDS: [Kind; 4] = [Kind::ServiceOutboundRoute, Kind::EgressPolicy, Kind::AddressPool, Kind::Service];

impl<P: Platform> Node<P> {
    /// What the API should say by what is known now.
    pub(crate) fn due(&self) -> Due {
        let taken = self.foreign_tables.clone();
        let range = self.settings.numbers.tables;
        Due {
            addresses: self.due.clone(),
            tables: taken.map(|taken| Tables { range, taken }),
            judged: self.judged.clone(),
            nodes: self.world.nodes.keys().cloned().collect(),
            entries: self.entries(),
            standings: self.standings(),
        }
    }

    /// Whether a route has no table only because nobody gave it one yet.
    pub(crate) fn awaits_tables(&self) -> bool {
        self.settings.giver == Giver::Cluster && self.unnumbered.iter().any(|(_, why)| why.reason == Reason::Pending)
    }

    /// Depends on the world and what is refused of it, and on nothing else.
    pub(super) fn judgements(&self) -> Judgements {
        let mut judged = Judgements::new();
        for condition in selection::conditions(&self.world, &[]) {
            let is_told = KINDS.contains(&condition.object.kind) && condition.kind == "Accepted";
            if is_told {
                let (holds, reason, message) = (condition.holds, condition.reason, condition.message);
                self.judge(&mut judged, condition.object, Verdict { holds, reason, message });
            }
        }
        for pool in self.world.pools.keys() {
            let name = ObjectName { namespace: String::new(), name: pool.clone() };
            let accepted = Verdict { holds: true, reason: Reason::Accepted, message: "accepted".to_owned() };
            self.judge(&mut judged, ObjectKey { kind: Kind::AddressPool, name }, accepted);
        }
        let refused = self.refused.iter().filter_map(|refused| Some((refused.key.clone()?, &refused.rejection)));
        for (object, rejection) in refused.filter(|(object, _)| KINDS.contains(&object.kind)) {
            self.judge(&mut judged, object, rejection.into());
        }
        judged
    }

    fn judge(&self, judged: &mut Judgements, ObjectKey { kind, name }: ObjectKey, accepted: Verdict) {
        let mut found = Judged::only(accepted);
        match kind {
            Kind::ServiceOutboundRoute => {
                if let Some(route) = self.world.routes.get(&name.name) {
                    found.uid.clone_from(&route.meta.uid);
                    found.tables = (route.table_id, route.given_table);
                    found.nodes = self.helpers(route.node_selector.as_ref());
                }
            }
            Kind::EgressPolicy => {
                found.uid = self.world.policies.get(&name).map(|policy| policy.meta.uid.clone()).unwrap_or_default();
                found.nodes = self.helpers(None);
            }
            Kind::AddressPool => {
                if let Some(pool) = self.world.pools.get(&name.name) {
                    found.uid.clone_from(&pool.meta.uid);
                    found.counts = counts(&self.world, pool);
                }
            }
            _ => {}
        }
        judged.entry(kind).or_default().insert(name, found);
    }

    /// Nodes that have a helper and that the selector admits.
    fn helpers(&self, selector: Option<&LabelSelector>) -> BTreeSet<String> {
        let admits = |labels| selector.is_none_or(|s| LabelSelector::matches(s, labels));
        let nodes = self.world.nodes.values().filter(|node| node.number.is_some() && admits(&node.meta.labels));
        nodes.map(|node| node.name.clone()).collect()
    }
}
