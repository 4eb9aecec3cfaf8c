//! What this node has to say of routes and policies: where packets cannot leave, and how many pods that concerns.
//!
//! Guarantees: an object of which nothing is to be said has no entry. Leaves out: the cluster as a whole, which is for
//! whoever reads the entries of all nodes.

use std::collections::BTreeMap;

use sortie_core::desired::{Exit, HopState, Lane, NodeMatch};
use sortie_core::model::{Attachment, Kind, ObjectName, Reason};
use sortie_core::selection::{self, Asked, PathKey};
use sortie_kernel::Platform;

use super::Node;
use crate::due::{Entries, Entry, Verdict};

/// Why something is not as it should be.
pub(super) type Why = (Reason, String);

impl<P: Platform> Node<P> {
    /// What is to be said; `None` before the kernel was read.
    pub(super) fn entries(&self) -> Option<Entries> {
        self.skeleton.as_ref()?;
        let policies = Entries::from([(Kind::EgressPolicy, self.of_policies())]);
        Some(policies.into_iter().chain([(Kind::ServiceOutboundRoute, self.of_routes())]).collect())
    }

    /// Routes that admit this node and by which nothing leaves here, or that the kernel does not hold.
    fn of_routes(&self) -> BTreeMap<ObjectName, Entry> {
        let entry = |(name, route): (&String, &sortie_core::model::ServiceOutboundRoute)| {
            let (reason, message) = self.route_trouble(name)?;
            let key = ObjectName { namespace: String::new(), name: name.clone() };
            Some((key, Entry { uid: route.meta.uid.clone(), pods: None, reason, message }))
        };
        self.world.routes.iter().filter_map(entry).collect()
    }

    fn route_trouble(&self, route: &str) -> Option<Why> {
        let unusable = self
            .unnumbered
            .iter()
            .find(|(key, _)| key.kind == Kind::ServiceOutboundRoute && key.name.name == route)
            .map(|(_, why)| Verdict::from(why));
        if let Some(Verdict { reason, message, .. }) = unusable {
            return (reason != Reason::Pending).then_some((reason, message));
        }
        let exit = self.skeleton.as_ref()?.exits.get(route)?;
        if exit.node_matches == NodeMatch::Refused {
            return None;
        }
        if exit.is_open() { self.unsettled() } else { Some(no_way(exit)) }
    }

    /// Why the kernel may not hold what it should.
    pub(super) fn unsettled(&self) -> Option<Why> {
        let reason = self.ready.as_ref().err()?;
        Some((Reason::Pending, format!("the kernel does not follow yet: {reason}")))
    }

    fn of_policies(&self) -> BTreeMap<ObjectName, Entry> {
        let mut found = BTreeMap::<ObjectName, Entry>::new();
        for attachment in self.held() {
            let asked = selection::asked(&self.world, attachment).into_iter();
            for asked in asked.filter(|asked| asked.owner.kind == Kind::EgressPolicy) {
                let Some(policy) = self.world.policies.get(&asked.owner.name) else { continue };
                let entry = found.entry(asked.owner.name.clone()).or_insert_with(|| Entry {
                    uid: policy.meta.uid.clone(),
                    pods: Some((0, 0)),
                    reason: Reason::Programmed,
                    message: String::new(),
                });
                self.count(entry, attachment, &asked);
            }
        }
        found
    }

    /// The first trouble is named.
    fn count(&self, entry: &mut Entry, attachment: &Attachment, asked: &Asked) {
        let (matched, programmed) = entry.pods.unwrap_or_default();
        let trouble = self.trouble(asked);
        entry.pods = Some((matched + 1, programmed + u64::from(trouble.is_none())));
        if let (Reason::Programmed, Some((reason, message))) = (entry.reason, trouble) {
            let pod = attachment.pod.as_ref().map_or("", |pod| pod.name.as_str());
            (entry.reason, entry.message) = (reason, format!("pod {pod}: {message}"));
        }
    }

    fn trouble(&self, asked: &Asked) -> Option<Why> {
        let unsettled = || self.unsettled();
        let closed = || asked.paths.iter().find_map(|path| self.closed(path));
        asked.problem.clone().or_else(closed).or_else(unsettled)
    }

    /// Why packets of the path do not leave.
    fn closed(&self, path: &PathKey) -> Option<Why> {
        let skeleton = self.skeleton.as_ref()?;
        if skeleton.remote.contains_key(path) {
            return None;
        }
        if let Some(service) = path.service().filter(|service| !self.owned.contains(service)) {
            return Some((
                Reason::NoExitNode,
                format!("no node that can be reached owns the addresses of Service {service}"),
            ));
        }
        let route = path.route()?;
        match skeleton.exits.get(route) {
            Some(exit) => exit.lanes.values().all(|lane| *lane == Lane::Closed).then(|| no_way(exit)),
            None => Some((Reason::Pending, format!("ServiceOutboundRoute {route} has no table"))),
        }
    }
}

/// Why nothing leaves by an exit.
pub(super) fn no_way(exit: &Exit) -> Why {
    if exit.node_matches == NodeMatch::Refused {
        let message = format!("spec.nodeSelector of ServiceOutboundRoute {} leaves this node out", exit.route);
        return (Reason::NoExitNode, message);
    }
    let is_silent = |state: &HopState| matches!(state, HopState::Unreachable(_));
    let silent = exit.hops.iter().any(|(_, state)| is_silent(state));
    let reason = if silent { Reason::NextHopUnreachable } else { Reason::DeviceMissing };
    (reason, exit.broken().join("; "))
}
