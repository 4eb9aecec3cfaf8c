//! Which next hops an exit uses.

use std::collections::BTreeMap;

use sortie_core::desired::{Lane, PerPodRules};
use sortie_core::model::{
    DeviceName, Family, Health, HealthMode, LabelSelector, NextHop, Reason, ServiceOutboundRoute, WhenUnavailable,
};
use sortie_core::state::RouteKind;

use crate::fixture::{built, hop, node, signalling};

fn gateways(route: ServiceOutboundRoute, dead: &[(&str, &str)]) -> Vec<String> {
    let (world, mut facts) = node(route);
    facts.dead_hops = dead.iter().map(|(d, g)| (DeviceName((*d).into()), g.parse().unwrap())).collect();
    match &built(&(world, facts)).exits["signalling"].lanes[&Family::V4] {
        Lane::Open(hops) => hops.iter().map(|h| format!("{}/{}", h.gateway.unwrap(), h.weight)).collect(),
        Lane::Closed => vec!["closed".into()],
        Lane::Main => vec!["main".into()],
    }
}

fn with_backup() -> ServiceOutboundRoute {
    let backup = NextHop { backup: true, ..hop("172.16.1.3", "eth1") };
    let heavy = NextHop { weight: 3, ..hop("172.16.1.2", "eth1") };
    ServiceOutboundRoute { next_hops: vec![hop("172.16.1.1", "eth1"), heavy, backup], ..signalling() }
}

#[test]
fn next_hops_of_a_family_share_the_traffic_by_weight() {
    assert_eq!(gateways(with_backup(), &[]), ["172.16.1.1/1", "172.16.1.2/3"]);
}

#[test]
fn a_dead_next_hop_leaves_the_group_and_a_single_one_has_no_weight() {
    assert_eq!(gateways(with_backup(), &[("eth1", "172.16.1.1")]), ["172.16.1.2/1"]);
}

#[test]
fn the_backup_serves_only_when_no_other_next_hop_does() {
    let dead = [("eth1", "172.16.1.1"), ("eth1", "172.16.1.2")];
    assert_eq!(gateways(with_backup(), &dead), ["172.16.1.3/1"]);
}

#[test]
fn without_a_usable_next_hop_the_family_is_closed_or_stays_on_the_main_table_as_asked() {
    let dead = [("eth1", "172.16.1.1")];
    assert_eq!(gateways(signalling(), &dead), ["closed"]);
    let lenient = ServiceOutboundRoute { when_unavailable: WhenUnavailable::UseMainTable, ..signalling() };
    assert_eq!(gateways(lenient, &dead), ["main"]);
}

#[test]
fn a_gateway_without_device_is_reached_by_the_device_whose_network_holds_it() {
    let route =
        ServiceOutboundRoute { next_hops: vec![NextHop { device: None, ..hop("172.16.1.9", "eth1") }], ..signalling() };
    let skeleton = built(&node(route));
    assert_eq!(skeleton.exits["signalling"].devices, [DeviceName("eth1".into())].into());
}

#[test]
fn a_missing_device_is_named_and_the_node_is_no_exit() {
    let route = ServiceOutboundRoute { next_hops: vec![hop("172.16.1.1", "ens9")], ..signalling() };
    let skeleton = built(&node(route));
    let condition = &skeleton.conditions[0];
    assert_eq!((condition.holds, condition.reason), (false, Reason::NoExitNode));
    assert!(condition.message.contains("spec.nextHops[0]") && condition.message.contains("ens9"), "{condition:?}");
}

#[test]
fn a_node_outside_the_node_selector_is_no_exit() {
    let labels = BTreeMap::from([("exit".to_owned(), "yes".to_owned())]);
    let selector = LabelSelector { match_labels: labels, match_expressions: Vec::new() };
    let skeleton = built(&node(ServiceOutboundRoute { node_selector: Some(selector), ..signalling() }));
    assert_eq!(skeleton.conditions[0].reason, Reason::NoExitNode);
    assert_eq!(skeleton.exits["signalling"].lanes[&Family::V4], Lane::Closed);
}

#[test]
fn an_on_link_next_hop_serves_both_families() {
    let route =
        ServiceOutboundRoute { next_hops: vec![NextHop { gateway: None, ..hop("::", "eth1") }], ..signalling() };
    let skeleton = built(&node(route));
    let desired = skeleton.compose([].iter(), skeleton.mode([].iter(), sortie_core::desired::Steering::Auto, 16));
    let defaults = desired.state.routes.iter().filter(|r| r.destination.prefix() == 0);
    let ways = defaults.filter(|r| matches!(&r.kind, RouteKind::Unicast { hops, .. } if hops[0].gateway.is_none()));
    assert_eq!(ways.count(), 2);
}

#[test]
fn a_switch_to_the_main_table_forgets_the_flows_of_the_route() {
    let lenient = ServiceOutboundRoute { when_unavailable: WhenUnavailable::UseMainTable, ..signalling() };
    let (world, facts) = node(lenient);
    let before = built(&(world.clone(), facts.clone()));
    let mut broken = facts;
    broken.dead_hops = [(DeviceName("eth1".into()), "172.16.1.1".parse().unwrap())].into();
    let after = built(&(world, broken));
    assert_eq!(after.switched_from(&before).len(), 2);
    assert!(after.switched_from(&after).is_empty());
}

#[test]
fn a_next_hop_that_is_not_used_keeps_a_way_to_the_target_behind_it() {
    let target = "198.51.100.1/32".parse().unwrap();
    let health = |target: &str| Health { mode: HealthMode::Icmp, target: target.parse().ok(), ..signalling().health };
    let ways = |health: Health, dead: &[&str]| {
        let (world, mut facts) = node(ServiceOutboundRoute { health, ..with_backup() });
        facts.dead_hops = dead.iter().map(|g| (DeviceName("eth1".into()), g.parse().unwrap())).collect();
        let state = built(&(world, facts)).compose([].iter(), PerPodRules::Absent).state;
        let ours = state.routes.into_iter().filter(|r| r.destination == target);
        ours.map(|r| match r.kind {
            RouteKind::Unicast { hops, .. } => (r.metric, hops.len()),
            other => panic!("{other:?}"),
        })
        .collect::<Vec<_>>()
    };
    let all = ["172.16.1.1", "172.16.1.2", "172.16.1.3"];
    assert_eq!(ways(health("198.51.100.1"), &[]), [(0, 2), (2002, 1)]);
    assert_eq!(ways(health("198.51.100.1"), &all[..1]), [(0, 1), (2000, 1), (2002, 1)]);
    assert_eq!(ways(health("198.51.100.1"), &all), [(2000, 1), (2001, 1), (2002, 1)]);
    assert_eq!(ways(health("172.16.1.9"), &all), []);
}
