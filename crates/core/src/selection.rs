//! Which flows of a pod go by which path.
//!
//! Guarantees: the result depends on the world, the node's name and the attachment only, not on the order
//! of objects; flows are in the order in which they are to be tried. Leaves out: tables, exits and kernel
//! objects, which are [`crate::desired`]'s.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::model::{Attachment, ObjectKey, ObjectName, PortRange, Protocol, Reason, Rejection, Service};
use crate::world::World;

mod account;
mod conditions;
mod conflict;
mod decision;
mod expand;
mod judge;
mod network;
mod rank;
mod service;
#[cfg(test)]
mod tests;
mod wish;

pub use account::{Account, Claim, Loser, Packet, account};

/// One (route, source) pair, or the end of a flow that must not leave.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PathKey {
    /// Leave by a route.
    Route {
        /// Route name.
        route: String,
        /// Source address.
        source: PathSource,
    },
    /// Leave with the address of a Service.
    Address {
        /// The Service.
        service: ObjectName,
        /// Route name; without one the flow leaves by the main table.
        route: Option<String>,
    },
    /// Drop and count.
    Closed,
}

impl PathKey {
    /// The route, if it leaves by one.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        match self {
            Self::Route { route, .. } => Some(route),
            Self::Address { route, .. } => route.as_deref(),
            Self::Closed => None,
        }
    }

    /// The Service whose address is the source, if one is.
    #[must_use]
    pub fn service(&self) -> Option<&ObjectName> {
        match self {
            Self::Address { service, .. } => Some(service),
            Self::Route { .. } | Self::Closed => None,
        }
    }
}

/// Source address of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PathSource {
    /// Address of the exit device.
    Device,
    /// The pod's own.
    Pod,
}

/// A test on the flow's first packet, seen from the pod. All present fields must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowMatch {
    /// Transport protocol; present whenever a port field is.
    pub protocol: Option<Protocol>,
    /// The pod's own ports.
    pub source_ports: Option<PortRange>,
    /// The far end's ports.
    pub destination_ports: Option<PortRange>,
    /// The far end's network; also restricts the family.
    pub destination: Option<IpNetwork>,
    /// Far ends left out, of any family.
    pub except: Vec<IpNetwork>,
}

impl FlowMatch {
    /// Whether a flow between the pod's port and the far end matches.
    #[must_use]
    pub fn matches(&self, protocol: u8, own_port: u16, far: (std::net::IpAddr, u16)) -> bool {
        self.mismatch(protocol, own_port, far).is_none()
    }

    /// Why such a flow does not match, if it does not.
    #[must_use]
    pub fn mismatch(&self, protocol: u8, own_port: u16, far: (std::net::IpAddr, u16)) -> Option<&'static str> {
        let without = |range: Option<PortRange>, port: u16| range.is_some_and(|r| !(r.first..=r.last).contains(&port));
        let reasons = [
            (self.protocol.is_some_and(|p| p.number() != protocol), "another protocol"),
            (without(self.source_ports, own_port), "another source port"),
            (without(self.destination_ports, far.1), "another destination port"),
            (self.destination.is_some_and(|d| !d.contains(far.0)), "the destination is outside its networks"),
            (self.except.iter().any(|e| e.contains(far.0)), "the destination is excepted"),
        ];
        reasons.into_iter().find(|(differs, _)| *differs).map(|(_, why)| why)
    }
}

/// One selected flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// What it looks like.
    pub matcher: FlowMatch,
    /// Where it goes.
    pub path: PathKey,
}

/// All selected flows of one pod, first match wins. Empty = not selected.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Assignment {
    /// In order of precedence.
    pub flows: Vec<Flow>,
}

/// One condition of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// Object.
    pub object: ObjectKey,
    /// `Accepted`, `Programmed`, `Conflicted`, `NextHopsReachable`.
    pub kind: &'static str,
    /// Status.
    pub holds: bool,
    /// Reason.
    pub reason: Reason,
    /// Text with object, field and remedy.
    pub message: String,
}

/// Namespaces for which a pod may ask for a route without saying so itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Namespaces, or `*` for all.
    pub namespaces: BTreeSet<String>,
}

/// Paths with addresses of Services that objects of this world ask for. What only a running pod's annotations ask
/// for is not among them.
#[must_use]
pub fn address_paths(world: &World) -> BTreeSet<PathKey> {
    service::paths(world)
}

/// The path that answers to clients of the Service take, if its annotations name a route.
#[must_use]
pub fn answers(service: &Service) -> Option<PathKey> {
    service::answers(service)
}

/// Decides for one attachment at ADD.
///
/// Where a reference by somebody else than the pod is bad, its flows end in [`PathKey::Closed`] or are not
/// selected, and [`conditions`] says so.
///
/// # Errors
/// The pod's own annotation or net conf is malformed, names a route or Service that does not exist or may
/// not be used; or all wishes together make more than 1024 flows.
pub fn select(world: &World, attachment: &Attachment) -> Result<Assignment, Rejection> {
    let decision = decision::decide(world, attachment);
    match decision.refusal {
        Some(refusal) => Err(refusal),
        None => Ok(Assignment { flows: decision.flows }),
    }
}

/// Decides for an attachment that was admitted before, which nothing can refuse any more.
///
/// Equal to [`select`] where that succeeds. Where it fails: flows of a route or Service that is gone end in
/// [`PathKey::Closed`], a wish that is malformed or no longer allowed selects nothing, and with too many
/// flows the whole pod is closed.
#[must_use]
pub fn select_admitted(world: &World, attachment: &Attachment) -> Assignment {
    Assignment { flows: decision::decide(world, attachment).flows }
}

/// Conditions `Accepted` and `Conflicted` of every route, policy, Service, Namespace and pod that asks for
/// something, in the order of their keys, given the attachments of this node.
#[must_use]
pub fn conditions(world: &World, attachments: &[&Attachment]) -> Vec<Condition> {
    conditions::conditions(world, attachments)
}

/// What one object asks for a pod that it selects, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The object.
    pub owner: ObjectKey,
    /// Where its flows go.
    pub paths: BTreeSet<PathKey>,
    /// Why they are not in force as written: a bad reference, or another object that wins all of them.
    pub problem: Option<(Reason, String)>,
}

/// What every object asks for the pod of an attachment.
#[must_use]
pub fn asked(world: &World, attachment: &Attachment) -> Vec<Asked> {
    decision::decide(world, attachment).reports.into_iter().map(decision::Report::into_asked).collect()
}

/// Whether the Service's annotations ask for a route or for its address as source.
#[must_use]
pub fn asks(service: &Service) -> bool {
    service::asks(service)
}

/// Whether the world holds the very pod of the attachment, or no pod belongs to it.
#[must_use]
pub fn is_known(world: &World, attachment: &Attachment) -> bool {
    attachment.pod.is_none() || wish::Subject::of(world, attachment).is_known()
}

/// Namespaces in which a pod may be selected by another object: a policy, a Service or the Namespace itself.
#[must_use]
pub fn interest(world: &World) -> Interest {
    let policies = world.policies.keys().map(|name| &name.namespace);
    let services = world.services.values().filter(|s| service::asks(s)).map(|s| &s.name.namespace);
    let namespaces = world.namespaces.values().filter(|n| !n.egress.is_empty()).map(|n| &n.name);
    Interest { namespaces: policies.chain(services).chain(namespaces).cloned().collect() }
}
