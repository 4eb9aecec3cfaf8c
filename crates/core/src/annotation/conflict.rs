//! Contradictions within one set of entries.
//!
//! Guarantees: two entries that give one source port (or, without ports, the whole pod) to two routes and do
//! not differ in the far end are refused. Leaves out: overlaps that precedence decides.

use std::fmt;

use ipnetwork::IpNetwork;

use super::Entry;
use crate::model::{Egress, PortMatch, PortRange, Protocol, Reason};
use crate::reader::{Fault, Read};

/// Refuses the first entry that contradicts an earlier one.
pub(super) fn refuse(entries: &[Entry]) -> Read<()> {
    for (index, later) in entries.iter().enumerate() {
        for earlier in &entries[..index] {
            if let Some(shared) = contested(&earlier.egress, &later.egress) {
                return Err(contradiction(&shared, earlier, later));
            }
        }
    }
    Ok(())
}

/// What two entries both claim.
enum Shared {
    Everything,
    Port(Protocol, PortRange),
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("all traffic"),
            Self::Port(protocol, PortRange { first, last }) if first == last => {
                write!(f, "{}:{first}", protocol.name())
            }
            Self::Port(protocol, PortRange { first, last }) => write!(f, "{}:{first}-{last}", protocol.name()),
        }
    }
}

fn contested(a: &Egress, b: &Egress) -> Option<Shared> {
    let is_one_far_end = shared_networks(&a.destinations, &b.destinations);
    if a.route == b.route || !is_one_far_end {
        return None;
    }
    let far = shared(&a.destination_ports, &b.destination_ports)?;
    match (shared(&a.ports, &b.ports)?, far) {
        (Shared::Port(near, _), Shared::Port(far, _)) if near != far => None,
        (Shared::Everything, far) => Some(far),
        (near, _) => Some(near),
    }
}

/// `None` if the lists have nothing in common, or only one of them is empty and so less specific.
fn shared(a: &[PortMatch], b: &[PortMatch]) -> Option<Shared> {
    if a.is_empty() && b.is_empty() {
        return Some(Shared::Everything);
    }
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x, y)));
    pairs.filter(|(x, y)| x.protocol == y.protocol).find_map(|(x, y)| {
        let both = PortRange { first: x.ports.first.max(y.ports.first), last: x.ports.last.min(y.ports.last) };
        (both.first <= both.last).then_some(Shared::Port(x.protocol, both))
    })
}

/// Networks of different length are told apart by precedence.
fn shared_networks(a: &[IpNetwork], b: &[IpNetwork]) -> bool {
    (a.is_empty() && b.is_empty()) || a.iter().any(|network| b.contains(network))
}

fn contradiction(shared: &Shared, earlier: &Entry, later: &Entry) -> Fault {
    let route = |entry: &Entry| match &entry.egress.route {
        Some(name) => format!("route {name}"),
        None => "the main table".to_owned(),
    };
    Fault {
        reason: Reason::Conflicted,
        field: later.field.clone(),
        message: format!("{shared} is given both to {} and to {}", route(earlier), route(later)),
        remedy: "give each port to one route, or tell them apart by destination".to_owned(),
    }
}
