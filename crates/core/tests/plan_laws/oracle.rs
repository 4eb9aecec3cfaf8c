//! An interpreter of rules, routes and chains for the first packet of a flow.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use sortie_core::ids::{CT_MARK, EXIT_TUNNEL, PACKET_MARK, TABLE_MAIN};
use sortie_core::state::{NftKey, NftTable, NftValue, NodeState, RouteKind, Rule};

/// A first packet.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// Pod address.
    pub(crate) source: IpAddr,
    /// Far end.
    pub(crate) far: IpAddr,
    /// `tcp` or `udp`.
    pub(crate) protocol: &'static str,
    /// Source port.
    pub(crate) sport: u16,
    /// Destination port.
    pub(crate) dport: u16,
}

impl Packet {
    /// Whether the far end belongs to the cluster.
    pub(crate) fn stays_inside(&self) -> bool {
        inside("10.244.0.0/16", self.far) || inside("fd00:244::/48", self.far)
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// Left by the main table.
    Main,
    /// Left by a device of ours with this treatment of the source.
    Left(String, String),
    /// Did not leave.
    Dropped,
}

/// What the state does to the packet.
pub(crate) fn fate(state: &NodeState, packet: &Packet) -> Fate {
    let (path, mark) = state.nft.as_ref().map_or((0, 0), |t| marks(t, packet));
    let out = lookup(state, packet, mark);
    let Some(table) = &state.nft else { return out };
    if path == 0 {
        return out;
    }
    let rules = |map, value| {
        let name = chain_of(table, map, value).unwrap_or_default();
        table.chains.get(&name).map(|c| c.rules.clone()).unwrap_or_default()
    };
    let exit = mark & PACKET_MARK;
    // What the path demands: this exit, and one of its devices.
    let passes = |device: &str| {
        let accepting = rules("gsrc", path).into_iter().filter(|rule| rule.ends_with(" accept"));
        let right = |rule: &String| {
            rule.contains(&format!("== {exit:#010x} oifname ")) && rule.contains(&format!("\"{device}\""))
        };
        accepting.filter(right).count() > 0
    };
    match (&out, rules("gexit", exit).first().map(String::as_str)) {
        (Fate::Main, Some("return")) => out,
        // The guard leaves what enters the tunnel to another chain, which wants this exit.
        (Fate::Left(device, _), _) if device == "sor0" && mark & PACKET_MARK == u32::from(EXIT_TUNNEL) => {
            Fate::Left(device.clone(), "keep".to_owned())
        }
        (Fate::Left(device, _), _) if passes(device) => {
            Fate::Left(device.clone(), chain_of(table, "nat", path).unwrap_or_default())
        }
        _ if packet.stays_inside() => out,
        _ => Fate::Dropped,
    }
}

fn marks(table: &NftTable, packet: &Packet) -> (u32, u32) {
    let (sel, pods) = if packet.source.is_ipv4() { ("sel4", "pods4") } else { ("sel6", "pods6") };
    let selected = table.maps[pods].elements.contains_key(&NftKey::Address(packet.source));
    let mut path = 0;
    if selected && !packet.stays_inside() {
        let set = match table.maps[sel].elements.get(&NftKey::Address(packet.source)) {
            Some(NftValue::Goto(chain)) => table.chains[chain].rules.clone(),
            _ => Vec::new(),
        };
        if let Some(rule) = set.iter().find(|r| matches(r, packet)) {
            let target = rule.rsplit("goto ").next().unwrap_or_default();
            path = table.chains[target].rules.iter().find_map(|r| r.rsplit(" or ").next().and_then(hex)).unwrap_or(0);
        }
    }
    if path != 0 {
        let exit = chain_of(table, "exit", path & CT_MARK);
        return match exit {
            Some(chain) => (path, exit_mark(table, &chain, packet)),
            None => (path, u32::MAX),
        };
    }
    let door = selected && table.chains.contains_key("door");
    (0, if door { set_mark(&table.chains["tomain"].rules[0]) } else { 0 })
}

fn exit_mark(table: &NftTable, chain: &str, packet: &Packet) -> u32 {
    let family = if packet.source.is_ipv4() { "ipv4" } else { "ipv6" };
    for rule in &table.chains[chain].rules {
        if let Some(other) = rule.strip_prefix(&format!("meta nfproto {family} goto ")) {
            return exit_mark(table, other, packet);
        }
        if rule.starts_with("meta mark set") {
            return set_mark(rule);
        }
    }
    0
}

fn set_mark(rule: &str) -> u32 {
    rule.trim_end_matches(" accept").rsplit(" or ").next().and_then(hex).unwrap_or(0)
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

fn chain_of(table: &NftTable, map: &str, mark: u32) -> Option<String> {
    match table.maps.get(map)?.elements.get(&NftKey::Mark(mark))? {
        NftValue::Goto(chain) => Some(chain.clone()),
        NftValue::Member | NftValue::Address(_) | NftValue::Mac(_) => None,
    }
}

fn matches(rule: &str, packet: &Packet) -> bool {
    let words: Vec<&str> = rule.split(' ').collect();
    let mut index = 0;
    while index < words.len() {
        let (ok, used) = match words[index] {
            "meta" => (words[index + 2] == packet.protocol, 3),
            "th" if words[index + 1] == "sport" => (in_range(words[index + 2], packet.sport), 3),
            "th" => (in_range(words[index + 2], packet.dport), 3),
            "ip" | "ip6" if words[index + 2] == "!=" => (!inside(words[index + 3], packet.far), 4),
            "ip" | "ip6" => (inside(words[index + 2], packet.far), 3),
            "goto" => return true,
            other => panic!("unknown word {other} in {rule}"),
        };
        if !ok {
            return false;
        }
        index += used;
    }
    false
}

fn in_range(range: &str, port: u16) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    (first.parse().unwrap()..=last.parse().unwrap()).contains(&port)
}

fn inside(network: &str, address: IpAddr) -> bool {
    network.parse::<IpNetwork>().unwrap().contains(address)
}

fn lookup(state: &NodeState, packet: &Packet, mark: u32) -> Fate {
    if mark == u32::MAX {
        return Fate::Dropped;
    }
    let mut rules: Vec<&Rule> = state.rules.iter().filter(|r| applies(r, packet, mark)).collect();
    rules.sort_by_key(|r| r.priority);
    rules.iter().find_map(|rule| route(state, rule.table, packet)).unwrap_or(Fate::Main)
}

fn applies(rule: &Rule, packet: &Packet, mark: u32) -> bool {
    let number = if packet.protocol == "tcp" { 6 } else { 17 };
    (rule.family == sortie_core::model::Family::V4) == packet.source.is_ipv4()
        && rule.iif.is_none()
        && rule.from.is_none_or(|n| n.contains(packet.source))
        && rule.to.is_none_or(|n| n.contains(packet.far))
        && rule.protocol.is_none_or(|p| p.number() == number)
        && rule.source_ports.is_none_or(|r| (r.first..=r.last).contains(&packet.sport))
        && rule.destination_ports.is_none_or(|r| (r.first..=r.last).contains(&packet.dport))
        && rule.fwmark.is_none_or(|(value, mask)| mark & mask == value)
}

/// `None` when the table says "go on with the next rule".
fn route(state: &NodeState, table: u32, packet: &Packet) -> Option<Fate> {
    if table == TABLE_MAIN {
        return Some(Fate::Main);
    }
    let holding = state.routes.iter().filter(|r| r.table == table && r.destination.contains(packet.far));
    let best = holding.min_by_key(|r| (std::cmp::Reverse(r.destination.prefix()), r.metric))?;
    match &best.kind {
        RouteKind::Throw => None,
        RouteKind::Unreachable => Some(Fate::Dropped),
        RouteKind::Unicast { hops, .. } => Some(Fate::Left(hops[0].device.to_string(), "unchanged".to_owned())),
    }
}
