//! What one attachment adds to the skeleton.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::Skeleton;
use super::chains::{device_list, keyword, map_name, path_chain};
use crate::ids::{
    EXIT_ADDRESS, EXIT_NONE, EXIT_TUNNEL, PRIORITY_POD_EXIT, PRIORITY_POD_NONE, TABLE_MAIN, TABLE_NONE, TABLE_TUNNEL,
    TUNNEL_DEVICE,
};
use crate::model::{Family, PortRange};
use crate::nft::chain;
use crate::selection::{Assignment, Flow, FlowMatch, PathKey};
use crate::state::{NftChain, NftElement, NftKey, NftValue, Rule, Verdicts};

/// Kernel objects of one attachment. Chains are shared by all attachments with the same assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Interned chains, by name.
    pub chains: BTreeMap<String, NftChain>,
    /// Elements.
    pub elements: Vec<NftElement>,
    /// Per-pod rules, if rules exist at all.
    pub rules: Vec<Rule>,
    /// What its flows carry, by address.
    pub verdicts: BTreeMap<IpAddr, Verdicts>,
}

impl Member {
    /// Number of rules of a family.
    #[must_use]
    pub fn rules_of(&self, family: Family) -> usize {
        self.rules.iter().filter(|r| r.family == family).count()
    }
}

impl Skeleton {
    /// What an attachment with these addresses and this assignment adds; nothing when it selects nothing.
    #[must_use]
    pub fn member(&self, addresses: &[IpAddr], assignment: &Assignment) -> Member {
        if assignment.flows.is_empty() {
            return Member::default();
        }
        let mut member = Member::default();
        for address in addresses {
            let family = Family::of(*address);
            let outbound = chain(None, self.outbound(family, assignment));
            let inbound = chain(None, self.inbound(family, assignment, None));
            let key = NftKey::Address(*address);
            let mut element = |map: &str, value| {
                member.elements.push(NftElement { map: map_name(map, family), key, value });
            };
            element("pods", NftValue::Member);
            for (map, prefix, chain) in [("sel", "s", outbound), ("inb", "d", inbound)] {
                if chain.count == 0 {
                    continue;
                }
                let name = interned(prefix, &chain);
                element(map, NftValue::Goto(name.clone()));
                member.chains.insert(name, chain);
            }
            member.chains.extend(self.prepared(family, assignment));
            member.rules.extend(self.rules(*address, assignment));
            member.verdicts.insert(*address, self.verdicts(assignment));
        }
        member
    }

    fn verdicts(&self, assignment: &Assignment) -> Verdicts {
        let mark = |flow: &Flow| {
            let number = self.number(&flow.path)?;
            Some((flow.matcher.clone(), self.numbers.ct_mark.place(u32::from(number))))
        };
        Verdicts { flows: assignment.flows.iter().filter_map(mark).collect(), excluded: self.excluded.clone() }
    }

    fn number(&self, path: &PathKey) -> Option<u16> {
        self.allocation.paths.get(path).or_else(|| self.allocation.paths.get(&PathKey::Closed)).copied()
    }

    /// First packets of the pod's own flows.
    fn outbound(&self, family: Family, assignment: &Assignment) -> Vec<String> {
        let flows = assignment.flows.iter().filter(|f| meets(&f.matcher, family));
        let rule = |flow: &Flow| {
            let tests = tests(&flow.matcher, family, Seen::FromPod);
            Some(format!("{tests}goto {}", path_chain(self.number(&flow.path)?)))
        };
        flows.filter_map(rule).collect()
    }

    /// First packets of flows to the pod that come in by a device of the route, or from the owner of the path's address;
    /// when the addresses have `moved`, or now.
    fn inbound(&self, family: Family, assignment: &Assignment, moved: Option<Place>) -> Vec<String> {
        let flows = assignment.flows.iter().filter(|f| meets(&f.matcher, family));
        let rule = |flow: &Flow| {
            let devices = self.doors(&flow.path, moved)?;
            let tests = tests(&flow.matcher, family, Seen::FromFarEnd);
            Some(format!("iifname {devices} {tests}goto {}", path_chain(self.number(&flow.path)?)))
        };
        flows.filter_map(rule).collect()
    }

    /// By which devices questions come in that a path's packets answer. While the path leaves by another node only those
    /// that this node has sent here: no other node knows what is answered.
    fn doors(&self, path: &PathKey, moved: Option<Place>) -> Option<String> {
        let is_address = path.service().is_some();
        let present = if self.remote.contains_key(path) { Place::Away } else { Place::Here };
        match moved.filter(|_| is_address).unwrap_or(present) {
            Place::Here => device_list(self.exits.get(path.route()?)?),
            Place::Away => is_address.then(|| format!("\"{TUNNEL_DEVICE}\"")),
        }
    }

    /// What leads in once the addresses have moved, there already: a takeover needs no run of `nft` for it.
    fn prepared(&self, family: Family, assignment: &Assignment) -> BTreeMap<String, NftChain> {
        let moves = self.state.tunnel.is_some() && assignment.flows.iter().any(|flow| flow.path.service().is_some());
        let places = [Place::Here, Place::Away].into_iter().filter(|_| moves);
        let chains = places.map(|place| chain(None, self.inbound(family, assignment, Some(place))));
        chains.filter(|chain| chain.count > 0).map(|chain| (interned("d", &chain), chain)).collect()
    }

    /// For each flow: the exit's table by mark, and behind all of them "none".
    fn rules(&self, address: IpAddr, assignment: &Assignment) -> Vec<Rule> {
        let family = Family::of(address);
        let flows = assignment.flows.iter().filter(|f| meets(&f.matcher, family));
        let mut rules: Vec<Rule> = flows.flat_map(|flow| self.pair(address, flow)).collect();
        rules.sort();
        rules.dedup();
        rules
    }

    /// Exit and table that a path's packets take on this node.
    fn way(&self, path: &PathKey) -> (u8, u32) {
        let none = (EXIT_NONE, TABLE_NONE);
        let by_route = |route: &String| self.exits.get(route).map_or(none, |exit| (exit.number, exit.table));
        match path {
            _ if self.remote.contains_key(path) => (EXIT_TUNNEL, TABLE_TUNNEL),
            PathKey::Route { route, .. } => by_route(route),
            PathKey::Address { service, .. } if !self.owned.contains(service) => none,
            PathKey::Address { route: Some(route), .. } => by_route(route),
            PathKey::Address { route: None, .. } => (EXIT_ADDRESS, TABLE_MAIN),
            PathKey::Closed => none,
        }
    }

    fn pair(&self, address: IpAddr, flow: &Flow) -> impl Iterator<Item = Rule> {
        let mark = self.numbers.packet_mark;
        let (number, table) = self.way(&flow.path);
        let by_mark = Rule {
            family: Family::of(address),
            priority: PRIORITY_POD_EXIT,
            iif: None,
            from: Some(IpNetwork::from(address)),
            to: flow.matcher.destination,
            protocol: flow.matcher.protocol,
            source_ports: flow.matcher.source_ports,
            destination_ports: flow.matcher.destination_ports,
            fwmark: Some((mark.place(u32::from(number)), mark.0)),
            table,
        };
        let none = Rule { priority: PRIORITY_POD_NONE, fwmark: None, table: TABLE_NONE, ..by_mark.clone() };
        (number != EXIT_NONE).then_some(by_mark).into_iter().chain([none])
    }
}

/// Where addresses are.
#[derive(Clone, Copy)]
enum Place {
    /// On this node.
    Here,
    /// On another one.
    Away,
}

/// Chains with one text have one name.
fn interned(prefix: &str, chain: &NftChain) -> String {
    format!("{prefix}_{}", chain.digest)
}

/// Which end sent the packet that is tested.
#[derive(Clone, Copy)]
enum Seen {
    FromPod,
    FromFarEnd,
}

fn meets(matcher: &FlowMatch, family: Family) -> bool {
    matcher.destination.is_none_or(|d| Family::of_network(d) == family)
}

/// The tests in nft words, each followed by a blank.
fn tests(matcher: &FlowMatch, family: Family, seen: Seen) -> String {
    let (own, far, far_address) = match seen {
        Seen::FromPod => ("sport", "dport", "daddr"),
        Seen::FromFarEnd => ("dport", "sport", "saddr"),
    };
    let mut out = String::new();
    if let Some(protocol) = matcher.protocol {
        let _ = write!(out, "meta l4proto {} ", protocol.name());
    }
    for (side, ports) in [(own, matcher.source_ports), (far, matcher.destination_ports)] {
        if let Some(ports) = ports {
            let _ = write!(out, "th {side} {} ", range(ports));
        }
    }
    let keyword = keyword(family);
    if let Some(destination) = matcher.destination {
        let _ = write!(out, "{keyword} {far_address} {destination} ");
    }
    for except in matcher.except.iter().filter(|e| Family::of_network(**e) == family) {
        let _ = write!(out, "{keyword} {far_address} != {except} ");
    }
    out
}

fn range(ports: PortRange) -> String {
    if ports.first == ports.last { ports.first.to_string() } else { format!("{}-{}", ports.first, ports.last) }
}
