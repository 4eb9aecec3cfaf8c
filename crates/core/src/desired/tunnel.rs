//! The way to the node that sends a pod's packets out, and back.
//!
//! Guarantees: only packets of a selected pod of this node, with its own address, enter the tunnel towards an exit; what
//! comes out of it leaves by the exit of its path or is dropped; the exit's node keeps nothing about pods of other
//! nodes: path and node stand in the frame. Leaves out: which node is the exit ([`crate::steering`]).
//!
//! A frame to an exit carries in its source address the connection mark it is to get there; a frame back carries none.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::chains::{Ways, keyword, map_name, named, nfproto, returns};
use super::exits::{Exit, everything, exit_rule, fence};
use super::guard;
use super::marks::Marks;
use super::{Inputs, Peering, empty_map};
use crate::ids::{
    EXIT_ADDRESS, EXIT_NONE, EXIT_TUNNEL, FRAME_SOURCE, METRIC_LAST, Numbers, PRIORITY_RETURN, PRIORITY_TUNNEL_EXIT,
    TABLE_MAIN, TABLE_RETURN, TABLE_TUNNEL, TUNNEL_DEVICE, TUNNEL_GATEWAY_MAC, TUNNEL_GATEWAY4, TUNNEL_GATEWAY6,
    TUNNEL_MAC,
};
use crate::model::{DeviceName, Family};
use crate::nft::chain;
use crate::selection::PathKey;
use crate::state::{
    Hop, Mac, NftKey, NftMap, NftMapKind, NftTable, NftValue, NodeState, Route, RouteKind, Rule, TableFamily, Tunnel,
};
use crate::steering::{self, Remote};
use crate::world::NodeFacts;

/// What comes out of the tunnel and belongs to no path, or goes into it from nowhere.
const DROP: &str = "drop_tunnel";
/// What other nodes send here for an address or route that is not here.
const DROP_ASTRAY: &str = "drop_astray";
/// Where packets of other nodes go although their path leaves by another one since a moment ago.
pub(super) const PASSING: &str = "pass";
/// Outer packets of machines that are no nodes.
const DROP_STRANGER: &str = "drop_stranger";
/// Headers of VXLAN over IPv4 (outer IP, UDP, VXLAN, inner Ethernet); over IPv6 it is 20 bytes more.
const OVERHEAD: u32 = 50;
/// Payload sizes that are announced when the device's packet size is unknown, and never less.
const MTU: (u32, u32) = (1500, 1280);

impl Peering {
    fn device(&self) -> Tunnel {
        let peers = self.peers.addresses.iter().map(|(node, address)| (mac_of(*node), *address)).collect();
        Tunnel { local: self.local, mac: mac_of(self.number), peers }
    }
}

/// A node's link address in the tunnel.
fn mac_of(node: u16) -> Mac {
    let ([a, b, c, d], [high, low]) = (TUNNEL_MAC, node.to_be_bytes());
    Mac([a, b, c, d, high, low])
}

/// Paths of this node that leave by others, because their address is owned there or no lane is open here.
pub(super) fn remote(inputs: &Inputs<'_>, exits: &BTreeMap<String, Exit>) -> BTreeMap<PathKey, Remote> {
    let Some(peering) = inputs.peering else { return BTreeMap::new() };
    let leaves_here = |path: &PathKey| match path {
        PathKey::Address { service, .. } => inputs.owned.contains(service),
        PathKey::Route { route, .. } => exits.get(route).is_none_or(Exit::is_open),
        PathKey::Closed => true,
    };
    let away = inputs.allocation.paths.keys().filter(|path| !leaves_here(path));
    let choose = |path: &PathKey| {
        let before = peering.before.get(path).copied();
        Some((path.clone(), steering::remote(&peering.peers, path, inputs.node, before)?))
    };
    away.filter_map(choose).collect()
}

/// Device, rules and routes.
pub(super) fn install(inputs: &Inputs<'_>, (exits, remote): Ways<'_>, cluster: &[IpNetwork], state: &mut NodeState) {
    let Some(peering) = inputs.peering else { return };
    let numbers = inputs.numbers;
    state.tunnel = Some(peering.device());
    state.frames = Some(frames(inputs, (peering, remote)));
    state.src_valid_mark.insert(DeviceName(TUNNEL_DEVICE.to_owned()));
    state.routes.extend(fence(TABLE_TUNNEL, cluster));
    state.routes.extend([TABLE_TUNNEL, TABLE_RETURN].into_iter().flat_map(into_tunnel));
    state.routes.extend(everything().map(|destination| Route {
        table: TABLE_RETURN,
        destination,
        metric: METRIC_LAST,
        kind: RouteKind::Unreachable,
    }));
    for family in Family::ALL {
        let own = exits.values().map(|exit| (exit.number, exit.table)).chain([(EXIT_ADDRESS, TABLE_MAIN)]);
        state.rules.extend(own.map(|(exit, table)| Rule {
            priority: PRIORITY_TUNNEL_EXIT,
            iif: Some(DeviceName(TUNNEL_DEVICE.to_owned())),
            ..exit_rule(family, exit, table, numbers)
        }));
        state.rules.insert(exit_rule(family, EXIT_TUNNEL, TABLE_TUNNEL, numbers));
        state.rules.insert(Rule {
            priority: PRIORITY_RETURN,
            fwmark: Some((numbers.return_mark.0, numbers.return_mark.0)),
            ..exit_rule(family, EXIT_NONE, TABLE_RETURN, numbers)
        });
    }
}

fn into_tunnel(table: u32) -> impl Iterator<Item = Route> {
    let gateways = [IpAddr::from(TUNNEL_GATEWAY4), IpAddr::from(TUNNEL_GATEWAY6)];
    everything().zip(gateways).map(move |(destination, gateway)| {
        let hop = Hop { device: DeviceName(TUNNEL_DEVICE.to_owned()), gateway: Some(gateway), weight: 1 };
        Route { table, destination, metric: 0, kind: RouteKind::Unicast { hops: vec![hop], mtu: None } }
    })
}

/// Chains, sets and counters of the table `inet sortie` that only exist beside other nodes.
pub(super) fn declare(table: &mut NftTable, inputs: &Inputs<'_>, excluded: &[IpNetwork], marks: Marks) {
    let Some(peering) = inputs.peering else { return };
    table.counters.extend([DROP, DROP_ASTRAY, DROP_STRANGER].map(str::to_owned));
    table.maps.insert(PASSING.to_owned(), empty_map(NftMapKind::MarkVerdict));
    let known = map_name("peers", Family::of(peering.local));
    let addresses =
        peering.peers.addresses.values().map(|address| (NftKey::Address(*address), NftValue::Member)).collect();
    let kind = NftMapKind::Addresses(Family::of(peering.local));
    table.maps.insert(known.clone(), NftMap { kind, elements: addresses });
    let port = inputs.numbers.tunnel_port;
    let ip = keyword(Family::of(peering.local));
    let stranger = format!("udp dport {port} {ip} saddr != @{known} counter name {DROP_STRANGER} drop");
    let exit = format!("e{EXIT_TUNNEL}");
    table.chains.extend(named(vec![
        ("tunin", Some("type filter hook input priority -10; policy accept;"), vec![stranger]),
        ("tin", None, arrival(marks)),
        (
            &exit,
            None,
            vec![format!("iifname \"{TUNNEL_DEVICE}\" jump tback"), marks.enter_tunnel(), "accept".to_owned()],
        ),
        ("tback", None, back()),
        ("tnew", None, newcomers(excluded)),
        ("mss", None, clamp(peering.local, inputs.facts)),
        ("tout", None, departure(marks)),
        ("tgo", None, vec![format!("meta mark set {}", marks.path()), "accept".to_owned()]),
    ]));
    guard::add_exit(table, EXIT_TUNNEL, vec!["goto gdrop".to_owned()], marks);
}

/// What comes out of the tunnel for a pod of this node; all else that is no answer looks for something that is not here.
fn back() -> Vec<String> {
    let to_pod = |family| format!("{} daddr @{} goto mss", keyword(family), map_name("pods", family));
    let astray = format!("ct direction original counter name {DROP_ASTRAY} drop");
    Family::ALL.map(to_pod).into_iter().chain([astray, "jump mss".to_owned()]).collect()
}

/// What comes out of the tunnel: never with an address of ours; a packet to an exit brings its connection mark, one back
/// none.
fn arrival(marks: Marks) -> Vec<String> {
    vec![
        format!("ip saddr @vips4 counter name {DROP} drop"),
        format!("ip6 saddr @vips6 counter name {DROP} drop"),
        "ct direction original @ll,64,32 != 0 ct mark set @ll,64,32".to_owned(),
        marks.set_return(),
    ]
}

/// First in the hook where flows are decided: what came out of the tunnel has its path or is dropped.
pub(super) fn before_decision(inputs: &Inputs<'_>, marks: Marks, known: &str) -> Vec<String> {
    if inputs.peering.is_none() {
        return vec![known.to_owned()];
    }
    vec![
        format!("iifname \"{TUNNEL_DEVICE}\" jump tin"),
        format!("iifname \"{TUNNEL_DEVICE}\" @ll,64,32 != 0 {} vmap @{PASSING}", marks.path()),
        known.to_owned(),
        format!("iifname \"{TUNNEL_DEVICE}\" jump tnew"),
        format!("iifname \"{TUNNEL_DEVICE}\" {known}"),
        format!("iifname \"{TUNNEL_DEVICE}\" counter name {DROP} drop"),
    ]
}

/// First in the hook where sources are rewritten: nothing in either direction. A client keeps its port even while an older
/// connection of its is not forgotten here; the pod would not know it by another one.
pub(super) fn before_rewriting() -> Vec<String> {
    let to_pod = |family: Family| {
        let (ip, pods) = (keyword(family), map_name("pods", family));
        format!(
            "iifname \"{TUNNEL_DEVICE}\" {ip} daddr @{pods} meta l4proto {{ tcp, udp, sctp }} snat {ip} to {ip} saddr : th sport"
        )
    };
    [format!("oifname \"{TUNNEL_DEVICE}\" goto keep")].into_iter().chain(Family::ALL.map(to_pod)).collect()
}

/// What comes back from the owner of an address, and belongs to no flow here, is of a client that called a pod of this
/// node when the address was here: its answers go by the owner.
fn newcomers(excluded: &[IpNetwork]) -> Vec<String> {
    let lookup = |family| format!("{} daddr vmap @{}", keyword(family), map_name("inb", family));
    returns(excluded, "saddr", None).into_iter().chain(Family::ALL.map(lookup)).collect()
}

/// What goes into it: towards an exit only with the own address of a selected pod, which rewriting could have changed;
/// back only what belongs to a pod of another node.
fn departure(marks: Marks) -> Vec<String> {
    vec![
        "ip6 daddr ff00::/8 drop".to_owned(),
        format!("iifname \"{TUNNEL_DEVICE}\" counter name {DROP} drop"),
        format!("{} == 0 counter name {DROP} drop", marks.path()),
        format!("{} == {:#010x} ip saddr @pods4 goto tgo", marks.exit(), marks.exit_value(EXIT_TUNNEL)),
        format!("{} == {:#010x} ip6 saddr @pods6 goto tgo", marks.exit(), marks.exit_value(EXIT_TUNNEL)),
        format!("{} == {:#010x} goto gdrop", marks.exit(), marks.exit_value(EXIT_TUNNEL)),
        format!("{} == 0 counter name {DROP} drop", marks.node()),
        format!("meta mark set {}", marks.path_and_node()),
    ]
}

/// First in the chain of every exit that other nodes may use.
pub(super) fn of_exit(inputs: &Inputs<'_>, marks: Marks) -> Vec<String> {
    if inputs.peering.is_none() {
        return Vec::new();
    }
    let returns = format!("iifname != \"{TUNNEL_DEVICE}\" {} != 0 {}", marks.node(), marks.set_return());
    vec![format!("iifname \"{TUNNEL_DEVICE}\" jump mss"), returns]
}

/// Large packets of TCP fit into the tunnel unfragmented; others are fragmented outside.
fn clamp(local: IpAddr, facts: &NodeFacts) -> Vec<String> {
    let holds = |device: &&crate::world::Device| device.addresses.iter().any(|network| network.ip() == local);
    let mtu = facts.devices.values().find(holds).map_or(MTU.0, |device| device.mtu).max(MTU.1);
    let inside = mtu - OVERHEAD - if local.is_ipv6() { 20 } else { 0 };
    let rule = |family: Family, headers: u32| {
        let (size, nfproto) = (inside - headers, nfproto(family));
        format!(
            "meta nfproto {nfproto} tcp flags & (syn | rst) == syn tcp option maxseg size > {size} tcp option maxseg size set {size}"
        )
    };
    vec![rule(Family::V4, 40), rule(Family::V6, 60)]
}

/// The table that addresses frames by the packet mark, and takes the mark off the outer packet.
fn frames(inputs: &Inputs<'_>, (peering, ways): (&Peering, &BTreeMap<PathKey, Remote>)) -> NftTable {
    let numbers = inputs.numbers;
    let node = format!("meta mark and {:#010x}", numbers.node_mark.0);
    let rules = vec![
        format!("{node} == 0 ether daddr set meta mark map @kmac"),
        format!("{node} == 0 ether saddr set meta mark map @smac"),
        format!("{node} != 0 ether daddr set {node} map @nmac"),
        format!("{node} != 0 ether saddr set {}", Mac(TUNNEL_GATEWAY_MAC)),
        "meta mark set 0".to_owned(),
    ];
    let hook = format!("type filter hook egress device \"{TUNNEL_DEVICE}\" priority 0; policy accept;");
    let mut table = NftTable { family: TableFamily::Netdev, ..NftTable::default() };
    table.chains.insert("out".to_owned(), chain(Some(&hook), rules));
    let map = |elements| NftMap { elements, ..empty_map(NftMapKind::MarkMac) };
    let remote = || {
        let numbered = |(path, remote): (&PathKey, &Remote)| Some((*inputs.allocation.paths.get(path)?, *remote));
        ways.iter().filter_map(numbered)
    };
    let key = |path: u16| NftKey::Mark(numbers.ct_mark.place(u32::from(path)));
    let exit_of = |(path, remote): (u16, Remote)| (key(path), NftValue::Mac(mac_of(remote.node)));
    let source = |(path, remote): (u16, Remote)| (key(path), NftValue::Mac(source_of(remote, peering, numbers)));
    let back = |node: &u16| (NftKey::Mark(numbers.node_mark.place(u32::from(*node))), NftValue::Mac(mac_of(*node)));
    table.maps.insert("kmac".to_owned(), map(remote().map(exit_of).collect()));
    table.maps.insert("smac".to_owned(), map(remote().map(source).collect()));
    table.maps.insert("nmac".to_owned(), map(peering.peers.addresses.keys().map(back).collect()));
    table
}

/// The connection mark that a flow gets at its exit.
fn source_of(remote: Remote, peering: &Peering, numbers: Numbers) -> Mac {
    let mark = numbers.ct_mark.place(u32::from(remote.path)) | numbers.node_mark.place(u32::from(peering.number));
    let ([a, b], [c, d, e, f]) = (FRAME_SOURCE, mark.to_le_bytes());
    Mac([a, b, c, d, e, f])
}
