//! One wish as tests on packets.
//!
//! Guarantees: the matchers together describe what the entry asks for within what the route serves, nothing
//! else; there are between 1 and [`LIMIT`] of them. Leaves out: which path they lead to.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;

use crate::model::{Egress, PortMatch, PortRange, Protocol, ServiceOutboundRoute};
use crate::selection::FlowMatch;
use crate::selection::network;

/// Most flows of one entry, and of one pod.
pub(super) const LIMIT: usize = 1024;

/// Why an entry describes nothing that can be selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// Source and destination ports have no protocol in common.
    Protocols,
    /// Nothing of the destinations is served by the route, or everything is excepted.
    Destinations,
    /// More than [`LIMIT`] combinations.
    TooMany,
}

/// Protocol, source ports and destination ports of a matcher.
type Ports = (Option<Protocol>, Option<PortRange>, Option<PortRange>);

/// All matchers of an entry, restricted to the networks of the route if there is one.
pub(super) fn expand(egress: &Egress, route: Option<&ServiceOutboundRoute>) -> Result<BTreeSet<FlowMatch>, Defect> {
    if [egress.ports.len(), egress.destination_ports.len(), egress.destinations.len()].into_iter().max() > Some(LIMIT) {
        return Err(Defect::TooMany);
    }
    let ports = ports(&egress.ports, &egress.destination_ports);
    if ports.is_empty() {
        return Err(Defect::Protocols);
    }
    let networks = networks(egress, route);
    if networks.is_empty() {
        return Err(Defect::Destinations);
    }
    if ports.len().saturating_mul(networks.len()) > LIMIT {
        return Err(Defect::TooMany);
    }
    Ok(ports.iter().flat_map(|ports| networks.iter().map(|(to, except)| matcher(*ports, *to, except))).collect())
}

fn matcher((protocol, source, far): Ports, destination: Option<IpNetwork>, except: &[IpNetwork]) -> FlowMatch {
    FlowMatch { protocol, source_ports: source, destination_ports: far, destination, except: except.to_vec() }
}

fn ports(source: &[PortMatch], far: &[PortMatch]) -> BTreeSet<Ports> {
    match (source, far) {
        ([], []) => BTreeSet::from([(None, None, None)]),
        (source, []) => source.iter().map(|s| (Some(s.protocol), Some(s.ports), None)).collect(),
        ([], far) => far.iter().map(|d| (Some(d.protocol), None, Some(d.ports))).collect(),
        _ => source.iter().flat_map(|s| far.iter().filter_map(|d| both(s, d))).collect(),
    }
}

fn both(source: &PortMatch, far: &PortMatch) -> Option<Ports> {
    (source.protocol == far.protocol).then_some((Some(source.protocol), Some(source.ports), Some(far.ports)))
}

fn networks(egress: &Egress, route: Option<&ServiceOutboundRoute>) -> Vec<(Option<IpNetwork>, Vec<IpNetwork>)> {
    let served = route.map_or(&[][..], |r| &r.destinations);
    let unserved = route.map_or(&[][..], |r| &r.except_destinations);
    let except = egress.except_destinations.iter().chain(unserved).map(|n| network::canonical(*n)).collect();
    network::intersection(&egress.destinations, served)
        .into_iter()
        .filter_map(|to| Some((to, network::left_out(to, &except)?)))
        .collect()
}
