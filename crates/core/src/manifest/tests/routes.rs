//! `ServiceOutboundRoute`, field by field.

use super::{accepted, all_accepted, all_refused, ours, refused};
use crate::model::{AllowedNamespaces, DeviceName, HealthMode, NextHop, Object, ServiceOutboundRoute, WhenUnavailable};

const KIND: &str = "ServiceOutboundRoute";
/// What every route needs beside next hops.
const ALL: &str = "allowedNamespaces: {from: All}";
const HOP: &str = "nextHops: [{device: eth1}]";

fn route(spec: &str) -> ServiceOutboundRoute {
    let Object::Route(route) = accepted(&ours(KIND, spec)) else { panic!() };
    route
}

fn refused_with(rest: &str, table: &[(&str, &str)]) {
    let full: Vec<_> = table.iter().map(|(spec, field)| (format!("{spec}, {rest}"), *field)).collect();
    all_refused(KIND, &full.iter().map(|(spec, field)| (spec.as_str(), *field)).collect::<Vec<_>>());
}

fn accepted_with(rest: &str, specs: &[&str]) {
    let full: Vec<_> = specs.iter().map(|spec| format!("{spec}, {rest}")).collect();
    all_accepted(KIND, &full.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn absent_fields_have_their_defaults() {
    let found = route(&format!("{HOP}, {ALL}"));
    let hop = NextHop { gateway: None, device: Some(DeviceName("eth1".to_owned())), weight: 1, backup: false };
    assert_eq!(found.next_hops, [hop]);
    assert_eq!((found.when_unavailable, found.mtu, found.table_id), (WhenUnavailable::Drop, None, None));
    assert_eq!((found.health.mode, found.node_selector), (HealthMode::None, None));
    assert!(found.destinations.is_empty() && found.except_destinations.is_empty());
    let health = route(&format!("{HOP}, {ALL}, health: {{}}")).health;
    assert_eq!((health.mode, health.interval_milliseconds, health.failures), (HealthMode::Neighbour, 1000, 3));
}

#[test]
fn a_full_route_is_read() {
    let found = route(
        "nextHops: [{gateway: 192.168.50.1, device: eth1, weight: 256}, {gateway: 'fd50::1', device: eth1}, \
         {gateway: 192.168.51.1, backup: true}], destinations: [10.0.0.0/8, 'fd00::/8', 192.0.2.1], \
         exceptDestinations: [10.1.0.0/16], nodeSelector: {matchLabels: {exit: 'yes'}}, \
         allowedNamespaces: {from: Selector, selector: {matchLabels: {network: telco}}}, whenUnavailable: UseMainTable, \
         health: {mode: Icmp, intervalMilliseconds: 100, failures: 10, target: 192.168.50.1}, mtu: 1280, tableId: 10001",
    );
    assert_eq!((found.next_hops.len(), found.next_hops[0].weight, found.next_hops[2].backup), (3, 256, true));
    assert_eq!((found.destinations.len(), found.except_destinations.len()), (3, 1));
    assert!(matches!(found.allowed_namespaces, AllowedNamespaces::Selector(s) if s.match_labels.len() == 1));
    assert_eq!(
        (found.when_unavailable, found.mtu, found.table_id),
        (WhenUnavailable::UseMainTable, Some(1280), Some(10001))
    );
    assert_eq!((found.health.mode, found.health.interval_milliseconds), (HealthMode::Icmp, 100));
    assert_eq!(found.health.target, Some("192.168.50.1".parse().unwrap()));
}

#[test]
fn next_hops_are_checked() {
    let hops = |list: &[String]| format!("nextHops: [{}], {ALL}", list.join(", "));
    let many = |n: usize| (0..n).map(|i| format!("{{device: eth{i}}}")).collect::<Vec<_>>();
    all_accepted(KIND, &[&hops(&many(16))]);
    all_refused(KIND, &[(&hops(&many(17)), "spec.nextHops"), (ALL, "spec.nextHops"), (&hops(&[]), "spec.nextHops")]);
    refused_with(
        ALL,
        &[
            ("nextHops: {}", "spec.nextHops"),
            ("nextHops: [eth1]", "spec.nextHops[0]"),
            ("nextHops: [{weight: 1}]", "spec.nextHops[0]"),
            ("nextHops: [{device: eth1, dev: x}]", "spec.nextHops[0].dev"),
            ("nextHops: [{gateway: 192.0.2}]", "spec.nextHops[0].gateway"),
            ("nextHops: [{gateway: 127.0.0.1}]", "spec.nextHops[0].gateway"),
            ("nextHops: [{gateway: 224.0.0.1}]", "spec.nextHops[0].gateway"),
            ("nextHops: [{gateway: 0.0.0.0}]", "spec.nextHops[0].gateway"),
            ("nextHops: [{gateway: 255.255.255.255}]", "spec.nextHops[0].gateway"),
            ("nextHops: [{gateway: '::'}]", "spec.nextHops[0].gateway"),
            ("nextHops: [{gateway: '::1'}]", "spec.nextHops[0].gateway"),
            ("nextHops: [{gateway: 'ff02::1'}]", "spec.nextHops[0].gateway"),
            ("nextHops: [{gateway: '::ffff:192.0.2.1'}]", "spec.nextHops[0].gateway"),
            ("nextHops: [{gateway: 'fe80::1'}]", "spec.nextHops[0]"),
            ("nextHops: [{device: eth1, weight: 0}]", "spec.nextHops[0].weight"),
            ("nextHops: [{device: eth1, weight: 257}]", "spec.nextHops[0].weight"),
            ("nextHops: [{device: eth1, weight: -1}]", "spec.nextHops[0].weight"),
            ("nextHops: [{device: eth1, weight: '1'}]", "spec.nextHops[0].weight"),
            ("nextHops: [{device: eth1, backup: 1}]", "spec.nextHops[0].backup"),
            ("nextHops: [{device: eth1}, {device: eth2}, {device: eth1, weight: 2}]", "spec.nextHops[2]"),
            ("nextHops: [{gateway: 192.0.2.1}, {gateway: 192.0.2.1, backup: true}]", "spec.nextHops[1]"),
        ],
    );
    accepted_with(
        ALL,
        &[
            "nextHops: [{gateway: 'fe80::1', device: eth1}]",
            "nextHops: [{gateway: 192.0.2.1, device: eth1}, {gateway: 192.0.2.1, device: eth2}]",
            "nextHops: [{gateway: 192.0.2.1}, {gateway: 192.0.2.2}]",
        ],
    );
}

#[test]
fn device_names_are_checked() {
    let hop = |name: &str| format!("nextHops: [{{device: '{name}'}}], {ALL}");
    for good in ["e", "eth1.100", "abcdefghijklmno", "br-0@x", "..."] {
        all_accepted(KIND, &[&hop(good)]);
    }
    for bad in ["", ".", "..", "a/b", "a:1", "a b", "abcdefghijklmnop", "é", "a\"b", "eth*", "a\\b"] {
        all_refused(KIND, &[(&hop(bad), "spec.nextHops[0].device")]);
    }
}

#[test]
fn a_destination_needs_a_next_hop_of_its_family() {
    let spec = |hops: &str, destination: &str| format!("nextHops: [{hops}], destinations: ['{destination}'], {ALL}");
    let (v4, v6) = ("{gateway: 192.0.2.1}", "{gateway: '2001:db8::1'}");
    all_refused(
        KIND,
        &[
            (&spec(v4, "fd00::/8"), "spec.destinations[0]"),
            (&spec(v6, "10.0.0.0/8"), "spec.destinations[0]"),
            (&spec(v4, "10.0.0.1/8"), "spec.destinations[0]"),
        ],
    );
    all_accepted(
        KIND,
        &[&spec(v4, "10.0.0.0/8"), &spec(&format!("{v4}, {v6}"), "fd00::/8"), &spec("{device: eth1}", "fd00::/8")],
    );
}

#[test]
fn other_fields_are_checked() {
    refused_with(
        &format!("{HOP}, {ALL}"),
        &[
            ("nextHopz: []", "spec.nextHopz"),
            ("exceptDestinations: [10.0.0.0/33]", "spec.exceptDestinations[0]"),
            ("destinations: 10.0.0.0/8", "spec.destinations"),
            ("nodeSelector: {exit: 'yes'}", "spec.nodeSelector.exit"),
            ("whenUnavailable: drop", "spec.whenUnavailable"),
            ("health: {mode: ICMP}", "spec.health.mode"),
            ("health: {intervalMilliseconds: 99}", "spec.health.intervalMilliseconds"),
            ("health: {intervalMilliseconds: 60001}", "spec.health.intervalMilliseconds"),
            ("health: {failures: 0}", "spec.health.failures"),
            ("health: {failures: 11}", "spec.health.failures"),
            ("health: {target: 127.0.0.1}", "spec.health.target"),
            ("health: {interval: 1}", "spec.health.interval"),
            ("mtu: 1279", "spec.mtu"),
            ("mtu: 65536", "spec.mtu"),
            ("mtu: 1500.5", "spec.mtu"),
            ("tableId: 0", "spec.tableId"),
            ("tableId: 253", "spec.tableId"),
            ("tableId: 254", "spec.tableId"),
            ("tableId: 255", "spec.tableId"),
            ("tableId: 11000", "spec.tableId"),
            ("tableId: 11099", "spec.tableId"),
            ("tableId: 4294967296", "spec.tableId"),
        ],
    );
    accepted_with(
        &format!("{HOP}, {ALL}"),
        &["tableId: 1", "tableId: 10999", "tableId: 11100", "tableId: 4294967295", "mtu: 65535", "nodeSelector: {}"],
    );
}

#[test]
fn allowed_namespaces_are_required_and_unambiguous() {
    refused_with(
        HOP,
        &[
            ("mtu: 1500", "spec.allowedNamespaces"),
            ("allowedNamespaces: {}", "spec.allowedNamespaces.from"),
            ("allowedNamespaces: {from: Same}", "spec.allowedNamespaces.from"),
            ("allowedNamespaces: {from: Selector}", "spec.allowedNamespaces.selector"),
            ("allowedNamespaces: {from: All, selector: {}}", "spec.allowedNamespaces.selector"),
            ("allowedNamespaces: {from: Selector, selector: {a: b}}", "spec.allowedNamespaces.selector.a"),
        ],
    );
}

#[test]
fn lists_have_a_limit() {
    let spec = |n: u32| {
        let list: Vec<_> = (0..n).map(|i| format!("10.{}.{}.0/24", i / 250, i % 250)).collect();
        format!("{HOP}, {ALL}, destinations: [{}]", list.join(", "))
    };
    all_accepted(KIND, &[&spec(256)]);
    all_refused(KIND, &[(&spec(257), "spec.destinations")]);
}

#[test]
fn status_is_not_ours_to_judge_but_other_fields_are() {
    let text = ours(KIND, &format!("{HOP}, {ALL}"));
    let _ = accepted(&format!("{text}status: {{tableId: x, conditions: [1]}}\n"));
    assert_eq!(refused(&format!("{text}specs: {{}}\n")).field, "specs");
    assert_eq!(
        refused("apiVersion: sortie.dev/v1alpha1\nkind: ServiceOutboundRoute\nmetadata: {name: a}\n").field,
        "spec"
    );
}
