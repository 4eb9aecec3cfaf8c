//! What the guard lets out.

use std::collections::BTreeSet;

use sortie_core::desired::PerPodRules;
use sortie_core::model::WhenUnavailable;
use sortie_core::state::{NftKey, NftTable, NftValue};

use crate::fixture::{built, hop, node, signalling};
use crate::vips::service;

fn table(route: sortie_core::model::ServiceOutboundRoute) -> NftTable {
    let (mut world, facts) = node(route);
    let service = service("203.0.113.7");
    world.services.insert(service.name.clone(), service);
    built(&(world, facts)).compose(std::iter::empty(), PerPodRules::Absent).state.nft.unwrap()
}

/// Chains that paths lead to, there now or prepared.
fn of_paths(table: &NftTable) -> impl Iterator<Item = (&String, &Vec<String>)> {
    let is_one = |name: &&String| name.starts_with('g') && name.contains('_');
    table.chains.iter().filter(move |(name, _)| is_one(name)).map(|(name, chain)| (name, &chain.rules))
}

#[test]
fn a_chain_of_a_path_lets_out_what_shows_mark_device_and_source_and_leaves_the_rest_to_the_exits() {
    let table = table(signalling());
    let names: BTreeSet<&str> = of_paths(&table).map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["g1_address", "g1_device", "g1_leased", "g1_pod"].into());
    for (name, rules) in of_paths(&table) {
        assert_eq!(rules.last().unwrap(), "goto gx", "{name}");
        for rule in rules.iter().filter(|rule| !rule.ends_with(" drop") && *rule != "goto gx") {
            assert!(rule.starts_with("meta mark and 0x0000003f == 0x00000001 oifname \"eth1\" "), "{name}: {rule}");
            assert!(rule.contains(" saddr ") && rule.ends_with(" accept"), "{name}: {rule}");
        }
    }
}

#[test]
fn an_exit_without_a_device_lets_nothing_out() {
    let mut route = signalling();
    (route.next_hops, route.when_unavailable) = (vec![hop("172.16.9.1", "eth9")], WhenUnavailable::Drop);
    let table = table(route);
    for (name, rules) in of_paths(&table) {
        assert!(rules.iter().all(|rule| rule == "goto gx" || rule.ends_with(" drop")), "{name}: {rules:?}");
    }
    assert_eq!(table.chains["g1"].rules, ["goto gdrop"]);
}

#[test]
fn every_exit_is_known_to_the_guard() {
    let table = table(signalling());
    let gexit: Vec<_> = table.maps["gexit"].elements.iter().collect();
    let known = |exit: u32| (NftKey::Mark(exit), NftValue::Goto(format!("g{exit}")));
    assert_eq!(gexit, [1, 61, 62, 63].map(known).iter().map(|(key, value)| (key, value)).collect::<Vec<_>>());
}
