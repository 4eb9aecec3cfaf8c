//! Ways to health targets behind next hops.

use ipnetwork::IpNetwork;

use super::exits::{Exit, HopState, Lane};
use crate::ids::METRIC_PROBE;
use crate::model::{Family, NextHop};
use crate::state::{Hop, Route, RouteKind};

/// A next hop that is not in use is asked for a target behind it all the same: by a route of its own, which only a
/// packet bound to the device takes. Other packets to the target go as everything else does.
pub(super) fn ways(exit: &Exit) -> Vec<Route> {
    let Some(target) = exit.target.filter(|t| !exit.connected.iter().any(|(n, _)| n.contains(*t))) else {
        return Vec::new();
    };
    let family = Family::of(target);
    let open = match exit.lanes.get(&family) {
        Some(Lane::Open(hops)) => hops.as_slice(),
        _ => &[],
    };
    let route = |metric, hops, mtu| Route {
        table: exit.table,
        destination: IpNetwork::from(target),
        metric,
        kind: RouteKind::Unicast { hops, mtu },
    };
    let idle = |(hop, state): &(NextHop, HopState)| -> Option<Hop> {
        let (HopState::Usable(device) | HopState::Unreachable(device)) = state else { return None };
        let gateway = hop.gateway.filter(|g| Family::of(*g) == family)?;
        let is_used = open.iter().any(|used| used.device == *device && used.gateway == Some(gateway));
        (!is_used).then(|| Hop { device: device.clone(), gateway: Some(gateway), weight: 1 })
    };
    let probes =
        (METRIC_PROBE..).zip(&exit.hops).filter_map(|(metric, hop)| Some(route(metric, vec![idle(hop)?], None)));
    let probes: Vec<Route> = probes.collect();
    let rest = (!probes.is_empty() && !open.is_empty()).then(|| route(0, open.to_vec(), exit.mtu));
    rest.into_iter().chain(probes).collect()
}
