//! Exits: where a route's traffic leaves this node, or why it cannot.

mod conditions;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{Inputs, host_prefix, probes};
use crate::ids::{EXIT_NONE, METRIC_LAST, Numbers, PRIORITY_EXIT, TABLE_NONE};
use crate::model::{
    DeviceName, Family, HealthMode, LabelSelector, NextHop, ServiceOutboundRoute, WhenUnavailable, is_link_local,
};
use crate::state::{Hop, NodeState, Route, RouteKind, Rule};
use crate::world::NodeFacts;

/// One route's exit on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Route name.
    pub route: String,
    /// Exit number.
    pub number: u8,
    /// Table.
    pub table: u32,
    /// All devices of the route that exist here.
    pub devices: BTreeSet<DeviceName>,
    /// Networks directly connected to its devices.
    pub connected: Vec<(IpNetwork, DeviceName)>,
    /// Every next hop and what it is good for now.
    pub hops: Vec<(NextHop, HopState)>,
    /// What each family's traffic does.
    pub lanes: BTreeMap<Family, Lane>,
    /// Route MTU.
    pub mtu: Option<u32>,
    /// Who is asked by ICMP instead of the gateway.
    pub target: Option<IpAddr>,
    /// Whether the node may be an exit at all.
    pub node_matches: NodeMatch,
}

/// Whether `nodeSelector` admits this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeMatch {
    /// It does.
    Admitted,
    /// It does not.
    Refused,
}

/// What one family's traffic of an exit does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Leaves by these hops.
    Open(Vec<Hop>),
    /// Is dropped.
    Closed,
    /// Stays on the main table (`whenUnavailable: UseMainTable`).
    Main,
}

/// What a next hop is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HopState {
    /// Usable by this device.
    Usable(DeviceName),
    /// Its device is not on this node.
    DeviceMissing,
    /// Its device is down.
    DeviceDown(DeviceName),
    /// Its probes fail.
    Unreachable(DeviceName),
}

/// Exits of all routes that have numbers.
pub(super) fn exits(inputs: &Inputs<'_>) -> BTreeMap<String, Exit> {
    let routes = inputs.world.routes.values();
    routes.filter_map(|route| Some((route.name.clone(), exit(inputs, route)?))).collect()
}

fn exit(inputs: &Inputs<'_>, route: &ServiceOutboundRoute) -> Option<Exit> {
    let number = *inputs.allocation.exits.get(&route.name)?;
    let table = *inputs.allocation.tables.get(&route.name)?;
    let hops: Vec<(NextHop, HopState)> =
        route.next_hops.iter().map(|hop| (hop.clone(), hop_state(hop, inputs.facts))).collect();
    let devices: BTreeSet<DeviceName> = hops.iter().filter_map(|(_, state)| state.device().cloned()).collect();
    let node_matches = node_match(inputs, route);
    let lanes = Family::ALL.map(|family| (family, lane(route, &hops, family, node_matches))).into_iter().collect();
    let connected = connected(&devices, inputs.facts);
    Some(Exit {
        route: route.name.clone(),
        number,
        table,
        devices,
        connected,
        hops,
        lanes,
        mtu: route.mtu,
        target: route.health.target.filter(|_| route.health.mode == HealthMode::Icmp),
        node_matches,
    })
}

fn node_match(inputs: &Inputs<'_>, route: &ServiceOutboundRoute) -> NodeMatch {
    let none = BTreeMap::new();
    let labels = inputs.world.nodes.get(inputs.node).map_or(&none, |n| &n.meta.labels);
    match &route.node_selector {
        Some(selector) if !LabelSelector::matches(selector, labels) => NodeMatch::Refused,
        _ => NodeMatch::Admitted,
    }
}

fn hop_state(hop: &NextHop, facts: &NodeFacts) -> HopState {
    let Some(name) = hop.device.clone().or_else(|| hop.gateway.and_then(|g| device_towards(g, facts))) else {
        return HopState::DeviceMissing;
    };
    match facts.devices.get(&name) {
        None => HopState::DeviceMissing,
        Some(device) if !device.up => HopState::DeviceDown(name),
        Some(_) if hop.gateway.is_some_and(|g| facts.dead_hops.contains(&(name.clone(), g))) => {
            HopState::Unreachable(name)
        }
        Some(_) => HopState::Usable(name),
    }
}

/// The device whose longest connected network holds the gateway.
fn device_towards(gateway: IpAddr, facts: &NodeFacts) -> Option<DeviceName> {
    let networks = facts.devices.iter().flat_map(|(name, d)| d.addresses.iter().map(move |a| (name, a)));
    let holding = networks.filter(|(_, a)| a.contains(gateway) && a.prefix() < host_prefix(**a));
    holding.max_by_key(|(_, a)| a.prefix()).map(|(name, _)| name.clone())
}

fn lane(route: &ServiceOutboundRoute, hops: &[(NextHop, HopState)], family: Family, node: NodeMatch) -> Lane {
    let usable = |backup: bool| -> Vec<Hop> {
        let of_kind = hops.iter().filter(|(hop, _)| hop.backup == backup && serves(hop, family));
        let mut found: Vec<Hop> = of_kind.filter_map(|(hop, state)| as_hop(hop, state)).collect();
        found.sort();
        found
    };
    let mut open = if node == NodeMatch::Admitted { usable(false) } else { Vec::new() };
    if open.is_empty() && node == NodeMatch::Admitted {
        open = usable(true);
    }
    if let [only] = open.as_mut_slice() {
        only.weight = 1;
    }
    match (open.is_empty(), route.when_unavailable) {
        (false, _) => Lane::Open(open),
        (true, WhenUnavailable::Drop) => Lane::Closed,
        (true, WhenUnavailable::UseMainTable) => Lane::Main,
    }
}

fn serves(hop: &NextHop, family: Family) -> bool {
    hop.gateway.is_none_or(|g| Family::of(g) == family)
}

fn as_hop(hop: &NextHop, state: &HopState) -> Option<Hop> {
    match state {
        HopState::Usable(device) => Some(Hop { device: device.clone(), gateway: hop.gateway, weight: hop.weight }),
        _ => None,
    }
}

fn connected(devices: &BTreeSet<DeviceName>, facts: &NodeFacts) -> Vec<(IpNetwork, DeviceName)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for name in devices {
        let Some(device) = facts.devices.get(name).filter(|d| d.up) else { continue };
        for address in device.addresses.iter().filter(|a| !is_link_local(a.ip()) && a.prefix() < host_prefix(**a)) {
            let network = network_of(*address);
            if seen.insert(network) {
                found.push((network, name.clone()));
            }
        }
    }
    found
}

pub(super) fn network_of(address: IpNetwork) -> IpNetwork {
    IpNetwork::new(address.network(), address.prefix()).unwrap_or(address)
}

impl HopState {
    /// The device, if it is on this node.
    #[must_use]
    pub fn device(&self) -> Option<&DeviceName> {
        match self {
            Self::DeviceMissing => None,
            Self::Usable(d) | Self::DeviceDown(d) | Self::Unreachable(d) => Some(d),
        }
    }
}

impl Exit {
    /// Whether traffic of some family leaves by it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.lanes.values().any(|lane| matches!(lane, Lane::Open(_)))
    }
}

/// Adds the rules, routes and sysctls of the exits and of "none".
pub(super) fn install(exits: &BTreeMap<String, Exit>, cluster: &[IpNetwork], numbers: Numbers, state: &mut NodeState) {
    let mut add = |exit: u8, table: u32| {
        state.rules.extend(Family::ALL.map(|family| exit_rule(family, exit, table, numbers)));
        state.routes.extend(fence(table, cluster));
    };
    add(EXIT_NONE, TABLE_NONE);
    exits.values().for_each(|exit| add(exit.number, exit.table));
    for exit in exits.values() {
        state.routes.extend(ways(exit, cluster));
        state.src_valid_mark.extend(exit.devices.iter().cloned());
    }
}

pub(super) fn exit_rule(family: Family, exit: u8, table: u32, numbers: Numbers) -> Rule {
    let mark = numbers.packet_mark;
    Rule {
        family,
        priority: PRIORITY_EXIT,
        iif: None,
        from: None,
        to: None,
        protocol: None,
        source_ports: None,
        destination_ports: None,
        fwmark: Some((mark.place(u32::from(exit)), mark.0)),
        table,
    }
}

/// What every exit table holds: throws for the cluster and for link-local networks, and the end.
pub(super) fn fence(table: u32, cluster: &[IpNetwork]) -> impl Iterator<Item = Route> {
    let route = move |destination, metric, kind| Route { table, destination, metric, kind };
    let throws = cluster.iter().copied().map(network_of).chain(link_local()).collect::<BTreeSet<_>>();
    let ends = everything().map(move |d| route(d, METRIC_LAST, RouteKind::Unreachable));
    throws.into_iter().map(move |d| route(d, 0, RouteKind::Throw)).chain(ends)
}

fn ways(exit: &Exit, cluster: &[IpNetwork]) -> Vec<Route> {
    let route = |destination, hops, mtu| Route {
        table: exit.table,
        destination,
        metric: 0,
        kind: RouteKind::Unicast { hops, mtu },
    };
    let fenced: BTreeSet<IpNetwork> = cluster.iter().copied().map(network_of).chain(link_local()).collect();
    let open = |family| match exit.lanes.get(&family) {
        Some(Lane::Open(hops)) => Some(hops.clone()),
        _ => None,
    };
    let local = exit.connected.iter().filter(|(n, _)| !fenced.contains(n) && open(Family::of_network(*n)).is_some());
    let direct = local
        .map(|(network, device)| route(*network, vec![Hop { device: device.clone(), gateway: None, weight: 1 }], None));
    let defaults =
        everything().filter_map(|network| open(Family::of_network(network)).map(|hops| route(network, hops, exit.mtu)));
    direct.chain(defaults).chain(probes::ways(exit)).collect()
}

/// `0.0.0.0/0` and `::/0`.
pub(super) fn everything() -> impl Iterator<Item = IpNetwork> {
    networks(&[("0.0.0.0", 0), ("::", 0)])
}

/// Networks that never leave the link (RFC 3927, RFC 4291 section 2.5.6).
pub(super) fn link_local() -> impl Iterator<Item = IpNetwork> {
    networks(&[("169.254.0.0", 16), ("fe80::", 10)])
}

/// Constant networks; every entry of the constant lists is well formed (tested).
pub(super) fn networks(list: &'static [(&'static str, u8)]) -> impl Iterator<Item = IpNetwork> {
    list.iter().filter_map(|(address, prefix)| IpNetwork::new(address.parse().ok()?, *prefix).ok())
}
