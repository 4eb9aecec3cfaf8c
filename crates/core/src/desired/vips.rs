//! Addresses of Services: who may leave with one, and what comes in for one.
//!
//! Guarantees: a packet leaves with such an address only on the path the address belongs to, and only while this
//! node owns it; a packet to an address that nobody serves is dropped, never forwarded. Leaves out: answering for an
//! address on the wire.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::Inputs;
use super::chains::{insert, keyword, map_name, named, path_chain, returns};
use super::empty_map;
use super::exits::exit_rule;
use super::guard::{self, Source, Way};
use super::marks::{Marks, Numbering};
use super::tunnel;
use crate::ids::{EXIT_ADDRESS, TABLE_MAIN};
use crate::model::{Family, Service, ServicePort};
use crate::nft::{LEASE_SET, chain};
use crate::selection::{self, PathKey};
use crate::state::{NftKey, NftMapKind, NftTable, NftValue, Rule};

/// Packets to an address of a Service that nobody here serves.
pub(super) const DROP: &str = "drop_unserved";
/// Ends what comes for an address of another node.
const UNSERVED: &str = "unserved";
/// Packets with an address that other nodes could own, after the permission to use it ran out.
const DROP_LEASE: &str = "drop_lease";

/// Which path may send with which address, by family.
pub(super) const PERMITTED: [&str; 2] = ["kvip4", "kvip6"];

/// Of a path that needs the lease: whatever carries the address, in either direction.
pub(super) fn lease_rule() -> String {
    format!("meta nfproto != @{LEASE_SET} counter name {DROP_LEASE} drop")
}

/// What packets have that come from the address of their path.
pub(super) fn permitted(marks: Marks) -> Vec<String> {
    let known = |family| format!("{} . {} saddr @{}", marks.path(), keyword(family), map_name("kvip", family));
    Family::ALL.map(known).to_vec()
}

/// Rules of the exit by the main table, if any path takes it.
pub(super) fn rules(inputs: &Inputs<'_>) -> Vec<Rule> {
    let takes = |path: &PathKey| matches!(path, PathKey::Address { route: None, .. });
    if !inputs.allocation.paths.keys().any(takes) {
        return Vec::new();
    }
    Family::ALL.map(|family| exit_rule(family, EXIT_ADDRESS, TABLE_MAIN, inputs.numbers)).to_vec()
}

/// The addresses of the Services owned here, by the connection mark of each of their paths.
pub(super) fn of_paths(inputs: &Inputs<'_>) -> BTreeMap<u32, Vec<IpAddr>> {
    let owned = |path: &PathKey| {
        let service = path.service().filter(|name| inputs.owned.contains(name))?;
        Some(inputs.world.services.get(service)?.addresses.clone())
    };
    let mark = |number: u16| inputs.numbers.ct_mark.place(u32::from(number));
    inputs.allocation.paths.iter().filter_map(|(path, number)| Some((mark(*number), owned(path)?))).collect()
}

/// Sets, maps and chains without their members.
pub(super) fn declare(table: &mut NftTable, inputs: &Inputs<'_>, marks: Marks) {
    table.counters.extend([DROP, DROP_LEASE].map(str::to_owned));
    table.maps.insert(LEASE_SET.to_owned(), empty_map(NftMapKind::Lease));
    for family in Family::ALL {
        for (name, kind) in [
            ("vips", NftMapKind::Addresses(family)),
            ("svc", NftMapKind::AddressVerdict(family)),
            ("snat", NftMapKind::MarkAddress(family)),
            ("kvip", NftMapKind::MarkedAddresses(family)),
        ] {
            table.maps.insert(map_name(name, family), empty_map(kind));
        }
    }
    let path = marks.path();
    let mut leave = tunnel::of_exit(inputs, marks);
    leave.push(format!("{} accept", marks.set_exit(EXIT_ADDRESS)));
    let rewrite = vec![format!("snat ip to {path} map @snat4"), format!("snat ip6 to {path} map @snat6")];
    let exit = format!("e{EXIT_ADDRESS}");
    let unserved = vec![format!("counter name {DROP} drop")];
    table.chains.extend(named(vec![(&exit, None, leave), ("vip", None, rewrite), (UNSERVED, None, unserved)]));
    guard::add_way(table, Way::Address, marks);
}

/// Elements of one path; one that this node does not own ends here.
pub(super) fn add_path(table: &mut NftTable, path: &PathKey, key: NftKey, numbering: &Numbering<'_>) {
    let way = match path.route().map(|route| numbering.exits.get(route)) {
        Some(Some(exit)) => Way::Route(exit),
        Some(None) => Way::Nowhere,
        None => Way::Address,
    };
    for source in [Source::Address, Source::Leased] {
        guard::prepare(table, (way, source), numbering);
    }
    let inputs = numbering.inputs;
    let service = path.service().and_then(|name| inputs.world.services.get(name));
    let here = format!("e{}", way.exit());
    if let Some(service) = service.filter(|service| inputs.owned.contains(&service.name)) {
        insert(table, "exit", key, &here);
        let source = if inputs.leased.contains(&service.name) { Source::Leased } else { Source::Address };
        return send(table, service, (key, way, source), numbering);
    }
    insert(table, "exit", key, &format!("e{}", numbering.elsewhere(path)));
    let passes = |service: &&Service| inputs.peering.is_some_and(|peering| peering.passing.contains(&service.name));
    if let Some(service) = service.filter(passes) {
        insert(table, tunnel::PASSING, key, &here);
        send(table, service, (key, way, Source::Leased), numbering);
    }
}

/// A path's packets leave by `way` with the addresses of its Service.
fn send(
    table: &mut NftTable,
    service: &Service,
    (key, way, permission): (NftKey, Way<'_>, Source),
    numbering: &Numbering<'_>,
) {
    insert(table, "nat", key, "vip");
    guard::expect(table, key, (way, permission), numbering);
    let NftKey::Mark(mark) = key else { return };
    for family in Family::ALL {
        let Some(source) = source(service, family) else { continue };
        put(table, &map_name("snat", family), key, NftValue::Address(source));
        put(table, &map_name("kvip", family), NftKey::MarkAddress(mark, source), NftValue::Member);
    }
}

/// Where somebody outside calls an address: by the path of its answers, or not at all. A node that does not own it
/// could only answer past the owner, so what a router leads there ends there.
pub(super) fn clients(excluded: &[IpNetwork]) -> Vec<String> {
    let mut rules = returns(excluded, "saddr", None);
    rules.extend(
        Family::ALL.map(|family| format!("ct original {} daddr vmap @{}", keyword(family), map_name("svc", family))),
    );
    rules
}

/// The address that flows of a family leave with: the first one.
fn source(service: &Service, family: Family) -> Option<IpAddr> {
    service.addresses.iter().copied().find(|address| Family::of(*address) == family)
}

/// What comes in for addresses. The chains of those this node does not own are there, too, so that an address that moves
/// here moves elements only.
pub(super) fn add_addresses(table: &mut NftTable, inputs: &Inputs<'_>) {
    for service in inputs.world.services.values().filter(|service| !service.addresses.is_empty()) {
        let inbound = inbound(inputs, service).map(|(name, rules)| {
            table.chains.entry(name.clone()).or_insert_with(|| chain(None, rules));
            NftValue::Goto(name)
        });
        if inputs.owned.contains(&service.name) {
            add_owned(table, service, inbound.as_ref());
        } else if service.is_ours() {
            add_foreign(table, service);
        }
    }
}

fn add_foreign(table: &mut NftTable, service: &Service) {
    for address in &service.addresses {
        let nobody = NftValue::Goto(UNSERVED.to_owned());
        put(table, &map_name("svc", Family::of(*address)), NftKey::Address(*address), nobody);
    }
}

fn add_owned(table: &mut NftTable, service: &Service, inbound: Option<&NftValue>) {
    for address in &service.addresses {
        let (family, key) = (Family::of(*address), NftKey::Address(*address));
        put(table, &map_name("vips", family), key, NftValue::Member);
        if let Some(inbound) = inbound {
            put(table, &map_name("svc", family), key, inbound.clone());
        }
    }
}

/// The chain that gives flows to the Service's ports their path, whose route their answers take.
fn inbound(inputs: &Inputs<'_>, service: &Service) -> Option<(String, Vec<String>)> {
    let path = selection::answers(service)?;
    let number = inputs.allocation.paths.get(&path)?;
    let rule = |port: &ServicePort| {
        format!(
            "meta l4proto {} ct original proto-dst {} goto {}",
            port.protocol.name(),
            port.port,
            path_chain(*number)
        )
    };
    let rules: Vec<String> = service.ports.iter().map(rule).collect();
    (!rules.is_empty()).then(|| (format!("v_{}", chain(None, rules.clone()).digest), rules))
}

fn put(table: &mut NftTable, map: &str, key: NftKey, value: NftValue) {
    if let Some(map) = table.maps.get_mut(map) {
        map.elements.insert(key, value);
    }
}
