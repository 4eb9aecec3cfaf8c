//! Which flows are forgotten when a pod's selection changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sortie_core::desired::{Peering, Skeleton};
use sortie_core::state::{ConntrackEntry, ConntrackFilter, Tuple};
use sortie_core::steering::Peers;
use sortie_core::world::{NodeFacts, World};

use crate::fixture::{addresses, assignment, built, built_beside, node, signalling};

const PATH: u32 = 0x100;

fn tuple(source: (&str, u16), destination: (&str, u16)) -> Tuple {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    Tuple {
        source: address(source.0),
        destination: address(destination.0),
        protocol: 17,
        source_port: source.1,
        destination_port: destination.1,
    }
}

/// A flow that the pod opened, masqueraded to the device's address.
fn opened(own_port: u16, far: &str, mark: u32) -> ConntrackEntry {
    let original = tuple(("10.244.1.7", own_port), (far, 9));
    ConntrackEntry { original, reply: tuple((far, 9), ("172.16.1.11", own_port)), mark }
}

fn filter() -> ConntrackFilter {
    let skeleton = built(&node(signalling()));
    let member = skeleton.member(&addresses(), &assignment());
    let address = addresses()[0];
    ConntrackFilter::Reassigned { address, mask: 0x000f_ff00, verdicts: member.verdicts[&address].clone() }
}

#[test]
fn a_flow_that_carries_its_path_is_kept() {
    assert!(!filter().selects(&opened(5060, "192.0.2.10", PATH)));
    assert!(!filter().selects(&opened(15_000, "192.0.2.10", PATH | 0x4000_0000)));
    assert!(!filter().selects(&opened(7, "192.0.2.10", 0)));
}

#[test]
fn a_flow_that_became_selected_or_unselected_is_forgotten() {
    assert!(filter().selects(&opened(5060, "192.0.2.10", 0)));
    assert!(filter().selects(&opened(7, "192.0.2.10", PATH)));
    assert!(filter().selects(&opened(5060, "192.0.2.10", 0x200)));
}

#[test]
fn a_flow_inside_the_cluster_carries_nothing() {
    assert!(!filter().selects(&opened(5060, "10.244.2.9", 0)));
}

#[test]
fn a_flow_by_a_cluster_address_is_judged_by_where_it_really_goes() {
    let original = tuple(("10.244.1.7", 5060), ("10.96.0.10", 53));
    let entry = ConntrackEntry { original, reply: tuple(("10.244.2.9", 53), ("10.244.1.7", 5060)), mark: 0 };
    assert!(!filter().selects(&entry));
}

#[test]
fn an_accepted_flow_may_have_come_by_another_door() {
    let accepted = |mark| ConntrackEntry {
        original: tuple(("203.0.113.9", 4000), ("10.244.1.7", 5060)),
        reply: tuple(("10.244.1.7", 5060), ("203.0.113.9", 4000)),
        mark,
    };
    assert!(!filter().selects(&accepted(0)));
    assert!(!filter().selects(&accepted(PATH)));
    assert!(filter().selects(&accepted(0x200)));
}

#[test]
fn flows_of_other_pods_are_not_touched() {
    let other = tuple(("10.244.1.8", 5060), ("192.0.2.10", 9));
    let entry = ConntrackEntry { original: other, reply: tuple(("192.0.2.10", 9), ("10.10.0.11", 5060)), mark: 0 };
    assert!(!filter().selects(&entry));
}

#[test]
fn answers_to_a_forgotten_flow_are_known_when_the_pod_opened_it() {
    let (ours, by_mark) = (filter(), ConntrackFilter::Mark { value: PATH, mask: 0x000f_ff00 });
    let flow = opened(5060, "192.0.2.10", PATH);
    assert_eq!(ours.answer(&flow), Some(tuple(("192.0.2.10", 9), ("172.16.1.11", 5060))));
    assert_eq!(by_mark.answer(&flow), ours.answer(&flow));
    let accepted = ConntrackEntry { original: flow.reply, reply: flow.original, mark: PATH };
    assert_eq!(ours.answer(&accepted), None, "its client may go on at any time");
}

#[test]
fn after_the_loss_of_the_table_an_answer_that_went_astray_is_no_flow_of_its_own() {
    let ConntrackFilter::Reassigned { address, mask, verdicts } = filter() else { unreachable!() };
    let reversed = ConntrackFilter::Reversed { address, mask, verdicts };
    let from = |far: &str, own_port| ConntrackEntry {
        original: tuple((far, 7000), ("10.244.1.7", own_port)),
        reply: tuple(("10.244.1.7", own_port), (far, 7000)),
        mark: 0,
    };
    let astray = from("192.0.2.10", 5060);
    assert!(reversed.selects(&astray));
    assert_eq!(reversed.answer(&astray), Some(astray.original));
    assert!(!reversed.selects(&from("192.0.2.10", 7)));
    assert!(!reversed.selects(&from("10.244.2.9", 5060)));
    assert!(!reversed.selects(&ConntrackEntry { mark: PATH, ..from("192.0.2.10", 5060) }));
    assert!(!reversed.selects(&opened(5060, "192.0.2.10", 0)));
}

/// A node with a Service's address, while node 2 owns it and when this one does.
fn moved_here() -> ((World, NodeFacts), Skeleton, Skeleton) {
    let service = crate::vips::service("203.0.113.10");
    let mut place = node(signalling());
    let peers = Peers { owners: [(service.name.clone(), 2)].into(), ..Peers::default() };
    let local = "192.0.2.1".parse().unwrap();
    let elsewhere = Peering { number: 1, local, peers, before: BTreeMap::new(), passing: BTreeSet::new() };
    place.0.services.insert(service.name.clone(), service);
    let (here, before) = (built(&place), built_beside(&place, Some(&elsewhere)));
    (place, before, here)
}

#[test]
fn a_path_that_comes_with_an_address_forgets_flows_without_it_only() {
    let (_, before, here) = moved_here();
    let own = |filters: Vec<ConntrackFilter>| -> Vec<_> {
        filters.into_iter().filter(|f| matches!(f, ConntrackFilter::Unaddressed { .. })).collect()
    };
    let began = own(here.switched_from(&before));
    let [ConntrackFilter::Unaddressed { value, .. }] = began[..] else { panic!("{began:?}") };
    let original = tuple(("10.244.1.7", 5060), ("192.0.2.10", 9));
    let from = |own: &str| ConntrackEntry { original, reply: tuple(("192.0.2.10", 9), (own, 5060)), mark: value };
    assert!(began[0].selects(&from("10.244.1.7")) && began[0].may_wait());
    assert_eq!(began[0].answer(&from("10.244.1.7")), Some(from("10.244.1.7").reply));
    assert!(!began[0].selects(&from("203.0.113.10")), "inherited");
    let called = tuple(("198.51.100.7", 9), ("203.0.113.10", 5060));
    let call =
        ConntrackEntry { original: called, reply: tuple(("10.244.1.7", 15_060), ("198.51.100.7", 9)), mark: value };
    assert!(!began[0].selects(&call), "inherited from a client");
    let lost = before.switched_from(&here);
    assert!(own(lost.clone()).is_empty() && lost.iter().any(|f| f.selects(&from("203.0.113.10"))));
}

#[test]
fn what_outsiders_sent_to_an_address_before_this_node_had_it_is_forgotten() {
    let (place, before, here) = moved_here();
    assert_eq!(here.unserved(&here, &place.0), []);
    let gained = here.unserved(&before, &place.0);
    assert_eq!(gained.len(), 1);
    let sent = |source: &str, mark| {
        let original = tuple((source, 9), ("203.0.113.10", 5060));
        ConntrackEntry { original, reply: tuple(("10.244.1.7", 15_060), (source, 9)), mark }
    };
    assert!(gained[0].selects(&sent("198.51.100.7", 0)) && gained[0].answer(&sent("198.51.100.7", 0)).is_none());
    assert!(!gained[0].selects(&sent("198.51.100.7", 0x400)), "a connection of a path");
    assert!(!gained[0].selects(&sent("10.244.2.9", 0)), "a pod as client");
}
