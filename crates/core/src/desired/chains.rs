//! The nftables table: everything that does not depend on a pod.
//!
//! A flow's path is decided once, on its first packet, and kept in the connection mark; the path's exit is
//! written to the packet mark of every packet, in both directions; the guard looks at what really leaves.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;

use super::exits::{Exit, Lane, link_local, network_of, networks};
use super::guard::{self, Source, Way};
use super::marks::{Marks, Numbering};
use super::{Inputs, empty_map, tunnel, vips};
use crate::ids::{EXIT_MAIN, EXIT_NONE, EXIT_TUNNEL, Numbers};
use crate::model::Family;
use crate::nft::{chain, late_set};
use crate::selection::{PathKey, PathSource};
use crate::state::{NftChain, NftKey, NftMapKind, NftTable, NftValue};
use crate::steering::Remote;

/// Packets of a path that has no exit here.
const DROP_CLOSED: &str = "drop_closed";
/// Packets of a path nobody knows any more.
const DROP_NO_EXIT: &str = "drop_no_exit";
/// Packets of a running flow that became selected and is not forgotten yet: its addresses were rewritten
/// for another way.
const DROP_STALE: &str = "drop_stale";
/// Answers to a flow that was forgotten: taken for a flow of the far end they would lead the pod's packets
/// out by the door they came in.
const DROP_LATE: &str = "drop_late";
/// Selected packets that connection tracking cannot assign to a flow.
const DROP_UNTRACKED: &str = "drop_untracked";

/// Never leaves a node: multicast (RFC 5771, RFC 4291 section 2.7) and broadcast (RFC 919).
const NEVER: [(&str, u8); 3] = [("224.0.0.0", 4), ("255.255.255.255", 32), ("ff00::", 8)];

/// Name of a path's chain.
pub(super) fn path_chain(number: u16) -> String {
    format!("p{number}")
}

/// What is never selected: the cluster, link-local networks, multicast and broadcast.
pub(super) fn excluded(cluster: &[IpNetwork]) -> Vec<IpNetwork> {
    let all = cluster.iter().copied().map(network_of).chain(link_local()).chain(networks(&NEVER));
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The table without members.
pub(super) fn table(inputs: &Inputs<'_>, (exits, remote): Ways<'_>, excluded: &[IpNetwork]) -> NftTable {
    let mut table = NftTable::default();
    table.counters.extend([DROP_CLOSED, DROP_NO_EXIT, DROP_STALE, DROP_LATE, DROP_UNTRACKED].map(str::to_owned));
    let marks = Marks { numbers: inputs.numbers };
    table.chains.extend(decision(inputs, excluded, marks));
    table.chains.extend(rewriting(inputs, excluded, marks));
    for family in Family::ALL {
        table.maps.insert(late_set(family).to_owned(), empty_map(NftMapKind::Tuples(family)));
        table.maps.insert(map_name("pods", family), empty_map(NftMapKind::Addresses(family)));
        for name in ["sel", "inb"] {
            table.maps.insert(map_name(name, family), empty_map(NftMapKind::AddressVerdict(family)));
        }
    }
    for name in ["exit", "gexit", "gsrc", "nat"] {
        table.maps.insert(name.to_owned(), empty_map(NftMapKind::MarkVerdict));
    }
    fixed_exits(&mut table, marks);
    guard::declare(&mut table, inputs, excluded, marks);
    vips::declare(&mut table, inputs, marks);
    tunnel::declare(&mut table, inputs, excluded, marks);
    exits.values().for_each(|exit| add_exit(&mut table, exit, inputs, marks));
    for (path, number) in &inputs.allocation.paths {
        add_path(&mut table, path, *number, &Numbering { marks, exits, remote, inputs });
    }
    vips::add_addresses(&mut table, inputs);
    table
}

/// Exits of this node by route, and paths that leave by other nodes.
pub(super) type Ways<'a> = (&'a BTreeMap<String, Exit>, &'a BTreeMap<PathKey, Remote>);

/// `pods4`, `sel6`, …
pub(super) fn map_name(name: &str, family: Family) -> String {
    match family {
        Family::V4 => format!("{name}4"),
        Family::V6 => format!("{name}6"),
    }
}

pub(super) fn returns(excluded: &[IpNetwork], side: &str, family: Option<Family>) -> Vec<String> {
    let wanted = excluded.iter().filter(|n| family.is_none_or(|f| f == Family::of_network(**n)));
    wanted.map(|n| format!("{} {side} {n} return", keyword(Family::of_network(*n)))).collect()
}

/// `ip` or `ip6`.
pub(super) fn keyword(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

pub(super) fn named(chains: Vec<(&str, Option<&str>, Vec<String>)>) -> impl Iterator<Item = (String, NftChain)> {
    chains.into_iter().map(|(name, hook, rules)| (name.to_owned(), chain(hook, rules)))
}

pub(super) fn owned(rules: &[&str]) -> Vec<String> {
    rules.iter().map(|r| (*r).to_owned()).collect()
}

fn decision(inputs: &Inputs<'_>, excluded: &[IpNetwork], marks: Marks) -> impl Iterator<Item = (String, NftChain)> {
    let known = format!("{} vmap @exit", marks.path());
    let mut pre = tunnel::before_decision(inputs, marks, &known);
    pre.extend([
        "ct state established,related ip saddr != @pods4 return".to_owned(),
        "ct state established,related ip6 saddr != @pods6 return".to_owned(),
        "ct direction reply return".to_owned(),
        "jump pick".to_owned(),
        known.clone(),
        format!("{} != 0 counter name {DROP_NO_EXIT} drop", marks.path()),
    ]);
    let late = |family: Family| {
        let (ip, set) = (keyword(family), late_set(family));
        let tuple = format!("{ip} saddr . {ip} daddr . meta l4proto . th sport . th dport @{set}");
        format!("ct state new {tuple} counter name {DROP_LATE} drop")
    };
    // The responder on a packet socket has seen it; the kernel would look for the address, or redirect to it.
    let discovery = "ip6 daddr @vips6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } drop";
    let pick = vec![
        discovery.to_owned(),
        format!("ip daddr @vips4 counter name {} drop", vips::DROP),
        format!("ip6 daddr @vips6 counter name {} drop", vips::DROP),
        "ip saddr @pods4 goto src4".to_owned(),
        "ip6 saddr @pods6 goto src6".to_owned(),
        "ct status dnat jump clients".to_owned(),
        format!("{} != 0 return", marks.path()),
        late(Family::V4),
        late(Family::V6),
        "ip daddr @pods4 goto dst4".to_owned(),
        "ip6 daddr @pods6 goto dst6".to_owned(),
    ];
    let ask = |side: &str, map: &str, family: Family| -> Vec<String> {
        let other = if side == "saddr" { "daddr" } else { "saddr" };
        let lookup = format!("{} {side} vmap @{}", keyword(family), map_name(map, family));
        // The far end goes on with a connection that was forgotten: taken up as one of its own it would live on, past us.
        let midway = format!("tcp flags & syn == 0 counter name {DROP_STALE} drop");
        let midway = Some(midway).filter(|_| side == "daddr");
        returns(excluded, other, Some(family)).into_iter().chain(midway).chain([lookup]).collect()
    };
    named(vec![
        ("pre", Some("type filter hook prerouting priority -90; policy accept;"), pre),
        ("out", Some("type route hook output priority -90; policy accept;"), vec![known]),
        ("pick", None, pick),
        ("clients", None, vips::clients(excluded)),
        ("src4", None, ask("saddr", "sel", Family::V4)),
        ("src6", None, ask("saddr", "sel", Family::V6)),
        ("dst4", None, ask("daddr", "inb", Family::V4)),
        ("dst6", None, ask("daddr", "inb", Family::V6)),
    ])
}

fn rewriting(inputs: &Inputs<'_>, excluded: &[IpNetwork], marks: Marks) -> impl Iterator<Item = (String, NftChain)> {
    let mut post = vec![
        format!("{} == 0 return", marks.path()),
        format!("{} == {:#010x} return", marks.exit(), marks.exit_value(EXIT_MAIN)),
    ];
    if inputs.peering.is_some() {
        post.extend(tunnel::before_rewriting());
    }
    post.extend(returns(excluded, "daddr", None));
    post.push(format!("{} vmap @nat", marks.path()));
    named(vec![
        ("post", Some("type nat hook postrouting priority 90; policy accept;"), post),
        ("masq", None, owned(&["masquerade"])),
        ("keep", None, owned(&["snat ip to ip saddr", "snat ip6 to ip6 saddr"])),
    ])
}

/// The exits "none" and "main".
fn fixed_exits(table: &mut NftTable, marks: Marks) {
    let none = vec![
        marks.set_exit(EXIT_NONE),
        format!("ct direction original counter name {DROP_CLOSED}"),
        "accept".to_owned(),
    ];
    let main = vec![format!("{} accept", marks.set_exit(EXIT_MAIN))];
    table.chains.extend(named(vec![("e63", None, none), ("e62", None, main)]));
}

fn add_exit(table: &mut NftTable, exit: &Exit, inputs: &Inputs<'_>, marks: Marks) {
    let n = exit.number;
    let mut leave = tunnel::of_exit(inputs, marks);
    leave.extend(exit.lanes.iter().filter_map(|(family, lane)| detour(*family, lane)));
    leave.push(format!("{} accept", marks.set_exit(n)));
    table.chains.insert(format!("e{n}"), chain(None, leave));
    guard::add_way(table, Way::Route(exit), marks);
}

fn detour(family: Family, lane: &Lane) -> Option<String> {
    let exit = match lane {
        Lane::Open(_) => return None,
        Lane::Closed => EXIT_NONE,
        Lane::Main => EXIT_MAIN,
    };
    Some(format!("meta nfproto {} goto e{exit}", nfproto(family)))
}

/// `ipv4` or `ipv6`.
pub(super) fn nfproto(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// `"eth1"` or `{ "eth1", "eth2" }`; `None` without a device.
pub(super) fn device_list(exit: &Exit) -> Option<String> {
    let quoted: Vec<String> = exit.devices.iter().map(|d| format!("\"{d}\"")).collect();
    match quoted.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("{{ {} }}", many.join(", "))),
    }
}

fn add_path(table: &mut NftTable, path: &PathKey, number: u16, numbering: &Numbering<'_>) {
    let marks = numbering.marks;
    let first_packet = vec![
        format!("ct state invalid,untracked counter name {DROP_UNTRACKED} drop"),
        format!("ct status confirmed counter name {DROP_STALE} drop"),
        marks.set_path(number),
    ];
    table.chains.insert(path_chain(number), chain(None, first_packet));
    let key = NftKey::Mark(marks.path_value(number));
    let (route, nat, source) = match path {
        PathKey::Address { .. } => return vips::add_path(table, path, key, numbering),
        PathKey::Closed => return insert(table, "exit", key, &format!("e{EXIT_NONE}")),
        _ if numbering.elsewhere(path) == EXIT_TUNNEL => {
            return insert(table, "exit", key, &format!("e{EXIT_TUNNEL}"));
        }
        PathKey::Route { route, source: PathSource::Device } => (route, "masq", Source::Device),
        PathKey::Route { route, source: PathSource::Pod } => (route, "keep", Source::Pod),
    };
    insert(table, "nat", key, nat);
    if let Some(exit) = numbering.exits.get(route) {
        insert(table, "exit", key, &format!("e{}", exit.number));
        guard::expect(table, key, (Way::Route(exit), source), numbering);
    }
}

pub(super) fn insert(table: &mut NftTable, map: &str, key: NftKey, target: &str) {
    if let Some(map) = table.maps.get_mut(map) {
        map.elements.insert(key, NftValue::Goto(target.to_owned()));
    }
}

/// Adds the chain that sends the rest of a selected pod's traffic to the main table past the per-pod rules.
pub(super) fn add_door(table: &mut NftTable, numbers: Numbers) {
    let marks = Marks { numbers };
    let mut door = vec![format!("{} != 0 return", marks.path())];
    door.extend(
        ["ip saddr @pods4", "ip daddr @pods4", "ip6 saddr @pods6", "ip6 daddr @pods6"]
            .map(|m| format!("{m} goto tomain")),
    );
    let hook = "type filter hook prerouting priority -89; policy accept;";
    table.chains.extend(named(vec![("door", Some(hook), door), ("tomain", None, vec![marks.set_exit(EXIT_MAIN)])]));
}
