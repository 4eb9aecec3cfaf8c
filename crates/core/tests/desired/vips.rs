//! What a Service's address adds to the table.

use std::collections::{BTreeMap, BTreeSet};

use sortie_core::allocation::Allocation;
use sortie_core::desired::{Inputs, Peering, PerPodRules, skeleton};
use sortie_core::ids::Numbers;
use sortie_core::model::{Meta, ObjectName, Protocol, Service, ServicePort, TargetPort};
use sortie_core::plan::plan;
use sortie_core::state::{ConntrackFilter, NftKey, NftTable, NftValue, NodeState, Step, TableFamily};
use sortie_core::steering::Peers;
use sortie_core::world::{NodeFacts, World};

use crate::fixture::{node, numbered, signalling};

const PATH: u32 = 0x400;
const NOBODY: BTreeSet<ObjectName> = BTreeSet::new();

pub(crate) fn service(address: &str) -> Service {
    let annotations = [("sortie.dev/route".to_owned(), "signalling".to_owned())].into();
    Service {
        name: ObjectName { namespace: "core".into(), name: "sip".into() },
        meta: Meta { annotations, ..Meta::default() },
        ports: vec![ServicePort { protocol: Protocol::Udp, port: 5060, target: TargetPort::Number(15_060) }],
        load_balancer: true,
        class: Service::CLASS.into(),
        addresses: vec![address.parse().unwrap()],
        ..Service::default()
    }
}

/// The state with the Service, owned or not.
fn state(
    service: &Service,
    (owned, leased): (&BTreeSet<ObjectName>, &BTreeSet<ObjectName>),
) -> sortie_core::desired::Desired {
    let (mut world, facts) = node(signalling());
    world.services.insert(service.name.clone(), service.clone());
    let place = (world, facts);
    composed((&place, &numbered(&place)), (owned, leased), None)
}

/// The state without pods.
fn composed(
    ((world, facts), allocation): (&(World, NodeFacts), &Allocation),
    (owned, leased): (&BTreeSet<ObjectName>, &BTreeSet<ObjectName>),
    peering: Option<&Peering>,
) -> sortie_core::desired::Desired {
    let inputs = Inputs {
        world,
        node: "n1",
        facts,
        allocation,
        numbers: Numbers::default(),
        cluster_cidrs: &[],
        owned,
        leased,
        peering,
    };
    skeleton(&inputs).compose(std::iter::empty(), PerPodRules::Absent)
}

fn element<'a>(table: &'a NftTable, map: &str, key: NftKey) -> Option<&'a NftValue> {
    table.maps[map].elements.get(&key)
}

fn table(state: &NodeState) -> &NftTable {
    state.nft.as_ref().unwrap()
}

fn goto(chain: &str) -> NftValue {
    NftValue::Goto(chain.into())
}

#[test]
fn an_owned_address_is_the_source_of_its_path_and_its_ports_lead_to_it() {
    let service = service("203.0.113.7");
    let desired = state(&service, (&[service.name.clone()].into(), &NOBODY));
    let (table, vip) = (table(&desired.state), "203.0.113.7".parse().unwrap());
    assert_eq!(element(table, "exit", NftKey::Mark(PATH)), Some(&goto("e1")));
    assert_eq!(element(table, "nat", NftKey::Mark(PATH)), Some(&goto("vip")));
    assert_eq!(element(table, "gsrc", NftKey::Mark(PATH)), Some(&goto("g1_address")));
    assert_eq!(element(table, "snat4", NftKey::Mark(PATH)), Some(&NftValue::Address(vip)));
    assert!(element(table, "kvip4", NftKey::MarkAddress(PATH, vip)).is_some());
    assert!(table.maps["snat6"].elements.is_empty(), "it has no IPv6 address");
    let Some(NftValue::Goto(chain)) = element(table, "svc4", NftKey::Address(vip)) else { panic!("no chain") };
    assert_eq!(table.chains[chain].rules, ["meta l4proto udp ct original proto-dst 5060 goto p4"]);
}

#[test]
fn an_address_of_another_node_ends_here() {
    let service = service("203.0.113.7");
    let desired = state(&service, (&NOBODY, &NOBODY));
    let table = table(&desired.state);
    assert_eq!(element(table, "exit", NftKey::Mark(PATH)), Some(&goto("e63")));
    for map in ["vips4", "snat4", "kvip4"] {
        assert!(table.maps[map].elements.is_empty(), "{map}");
    }
    let led_here = NftKey::Address("203.0.113.7".parse().unwrap());
    assert_eq!(element(table, "svc4", led_here), Some(&goto("unserved")), "answered past its owner otherwise");
}

#[test]
fn an_address_of_somebody_elses_class_may_be_served_by_any_node() {
    let service = Service { class: "example.com/other".into(), ..service("203.0.113.7") };
    let desired = state(&service, (&NOBODY, &NOBODY));
    assert!(table(&desired.state).maps["svc4"].elements.is_empty());
}

#[test]
fn another_address_forgets_the_flows_of_its_path_only() {
    let (old, new) = (service("203.0.113.7"), service("203.0.113.8"));
    let owned = [old.name.clone()].into();
    let steps = plan(&state(&old, (&owned, &NOBODY)).state, &state(&new, (&owned, &NOBODY)));
    let mark = ConntrackFilter::Mark { value: PATH, mask: 0x000f_ff00 };
    assert!(steps.contains(&Step::PurgeConntrack(vec![mark])), "{steps:?}");
}

#[test]
fn an_address_that_others_could_own_needs_the_lease_in_both_directions() {
    let service = service("203.0.113.7");
    let owned = [service.name.clone()].into();
    let desired = state(&service, (&owned, &owned));
    let table = table(&desired.state);
    assert_eq!(element(table, "gsrc", NftKey::Mark(PATH)), Some(&goto("g1_leased")));
    let first = &table.chains["g1_leased"].rules[0];
    assert_eq!(first, "meta nfproto != @lease counter name drop_lease drop");
}

#[test]
fn an_address_that_moves_here_moves_elements_only() {
    let service = service("203.0.113.7");
    let owned = [service.name.clone()].into();
    let (elsewhere, here) = (state(&service, (&NOBODY, &NOBODY)), state(&service, (&owned, &owned)));
    let steps = plan(&elsewhere.state, &here);
    assert!(!steps.is_empty());
    for step in &steps {
        assert!(matches!(step, Step::Elements { .. } | Step::PurgeConntrack(_)), "{step:?}");
    }
}

/// A node with this many Services that have an address, owned here or by node 2.
fn crowd(count: u16, owner: Option<u16>) -> sortie_core::desired::Desired {
    crowd_passing(count, owner, |_| BTreeSet::new())
}

/// The same, and packets of other nodes pass for some of them.
fn crowd_passing(
    count: u16,
    owner: Option<u16>,
    passing: impl Fn(&BTreeSet<ObjectName>) -> BTreeSet<ObjectName>,
) -> sortie_core::desired::Desired {
    let (mut world, facts) = node(signalling());
    for number in 0..count {
        let mut service = service(&format!("203.0.{}.{}", 100 + number / 250, 1 + number % 250));
        service.name.name = format!("sip-{number}");
        world.services.insert(service.name.clone(), service);
    }
    let names: BTreeSet<ObjectName> = world.services.keys().cloned().collect();
    let place = (world, facts);
    let allocation = numbered(&place);
    let peers = Peers {
        addresses: [(2, "10.10.0.12".parse().unwrap())].into(),
        offers: [(2, std::sync::Arc::new(allocation.paths.clone()))].into(),
        owners: owner.into_iter().flat_map(|node| names.iter().map(move |name| (name.clone(), node))).collect(),
    };
    let local = "10.10.0.11".parse().unwrap();
    let peering = Peering { number: 1, local, peers, before: BTreeMap::new(), passing: passing(&names) };
    let owned = if owner.is_none() { names } else { NOBODY };
    composed((&place, &allocation), (&owned, &owned), Some(&peering))
}

#[test]
fn rules_and_routes_do_not_grow_with_addresses() {
    let (one, many) = (crowd(1, None).state, crowd(4000, None).state);
    assert_eq!((one.rules, one.routes), (many.rules, many.routes));
    let away = crowd(4000, Some(2)).state;
    assert_eq!(away.rules.len(), crowd(1, Some(2)).state.rules.len());
}

#[test]
fn a_thousand_addresses_move_in_one_transaction_of_elements() {
    let (away, here) = (crowd(1000, Some(2)), crowd(1000, None));
    for (from, to) in [(&away, &here), (&here, &away)] {
        let steps = plan(&from.state, to);
        let transactions = steps.iter().filter(|step| matches!(step, Step::Elements { family: TableFamily::Inet, .. }));
        assert_eq!(transactions.count(), 1);
        let others = steps.iter().filter(|step| !matches!(step, Step::Elements { .. } | Step::PurgeConntrack(_)));
        assert_eq!(others.collect::<Vec<_>>(), Vec::<&Step>::new());
    }
}

#[test]
fn what_was_handed_over_leaves_by_the_next_owner_and_what_others_still_send_for_it_passes() {
    let (here, away, passing) = (crowd(3, None), crowd(3, Some(2)), crowd_passing(3, Some(2), Clone::clone));
    let elements = |desired: &sortie_core::desired::Desired, map: &str| {
        desired.state.nft.as_ref().unwrap().maps[map].elements.clone()
    };
    for map in ["nat", "gsrc", "snat4", "kvip4"] {
        assert_eq!(elements(&passing, map), elements(&here, map), "{map}");
    }
    for map in ["exit", "vips4", "svc4"] {
        assert_eq!(elements(&passing, map), elements(&away, map), "{map}");
    }
    let of_addresses = |(key, _): &(NftKey, NftValue)| elements(&passing, "nat").get(key) == Some(&goto("vip"));
    let out: BTreeMap<_, _> = elements(&here, "exit").into_iter().filter(of_addresses).collect();
    assert_eq!(elements(&passing, "pass"), out);
    assert!(elements(&here, "pass").is_empty() && elements(&away, "pass").is_empty());
}

#[test]
fn before_connections_are_inherited_only_the_permission_to_send_is_missing() {
    let (without, with) = (crowd(3, Some(2)), crowd(3, None));
    let closed = with.before_new_sources(&without.state).unwrap();
    let maps = |state: &NodeState| state.nft.as_ref().unwrap().maps.clone();
    for (name, map) in maps(&with.state) {
        let left = &maps(&closed.state)[&name];
        let expected = if name.starts_with("kvip") { 0 } else { map.elements.len() };
        assert_eq!(left.elements.len(), expected, "{name}");
    }
    assert_eq!(with.before_new_sources(&with.state), None);
    assert_eq!(without.before_new_sources(&with.state), None, "what goes waits for nothing");
}
