//! Which flows of a pod go by which path.
//!
//! Guarantees: the result depends on the world, the node's name and the attachment only, not on the order
//! of objects; flows are in the order in which they are to be tried. Leaves out: tables, exits and kernel
//! objects, which are [`crate::desired`]'s.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::model::{Attachment, ObjectKey, PortRange, Protocol, Reason, Rejection};
use crate::world::World;

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
    /// Drop and count.
    Closed,
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

/// Decides for one attachment.
///
/// # Errors
/// The pod's own annotation or net conf is malformed, names a route that does not exist or may not be used.
pub fn select(world: &World, attachment: &Attachment) -> Result<Assignment, Rejection> {
    let _ = (world, attachment);
    Ok(Assignment::default())
}

/// Conditions of every policy, route and Service, given the attachments of this node.
#[must_use]
pub fn conditions(world: &World, attachments: &[&Attachment]) -> Vec<Condition> {
    let _ = (world, attachments);
    Vec::new()
}

/// Namespaces that any object selects.
#[must_use]
pub fn interest(world: &World) -> Interest {
    let _ = world;
    Interest::default()
}
