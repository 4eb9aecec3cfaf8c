//! What holds for every platform.

use std::collections::{BTreeMap, BTreeSet};

use sortie_core::ids;
use sortie_core::model::{DeviceName, Family, PortRange, Protocol};
use sortie_core::state::{
    Hop, NftChange, NftEdit, NftElement, NftKey, NftMap, NftMapKind, NftTable, NftValue, NodeState, Route, RouteKind,
    Rule, Step, TableFamily,
};
use sortie_kernel::Platform;

pub(crate) mod tunnel;

pub(crate) use tunnel::{
    a_tunnel_is_made_changed_and_removed_any_number_of_times, the_table_of_frames_stands_beside_the_other,
    what_hangs_on_the_tunnel_goes_with_it,
};

pub(crate) fn device(name: &str) -> DeviceName {
    DeviceName(name.into())
}

/// A whole-pod rule of a family.
pub(crate) fn rule(family: Family) -> Rule {
    let pod = if family == Family::V4 { "10.1.0.5/32" } else { "fd00::5/128" };
    Rule {
        family,
        priority: ids::PRIORITY_POD_EXIT,
        iif: None,
        from: Some(pod.parse().unwrap()),
        to: None,
        protocol: None,
        source_ports: None,
        destination_ports: None,
        fwmark: Some((0x100, 0x3f00)),
        table: 10_000,
    }
}

/// Every shape the core emits.
pub(crate) fn rules() -> Vec<Rule> {
    let shapes = |family| {
        let to = if family == Family::V4 { "198.51.100.0/24" } else { "2001:db8:f::/48" };
        let ports = PortRange { first: 5000, last: 5009 };
        let one = PortRange { first: 53, last: 53 };
        let whole = rule(family);
        let udp = Rule { protocol: Some(Protocol::Udp), source_ports: Some(ports), ..rule(family) };
        let far =
            Rule { protocol: Some(Protocol::Tcp), destination_ports: Some(one), to: to.parse().ok(), ..rule(family) };
        let sctp = Rule { protocol: Some(Protocol::Sctp), source_ports: Some(one), ..rule(family) };
        let none = Rule { priority: 1310, fwmark: None, table: ids::TABLE_NONE, ..udp.clone() };
        let exit = Rule { priority: 1399, from: None, ..rule(family) };
        let main = Rule { priority: 1290, from: None, fwmark: Some((0x3e00, 0x3f00)), table: 254, ..rule(family) };
        [whole, udp, far, sctp, none, exit, main]
    };
    Family::ALL.into_iter().flat_map(shapes).collect()
}

pub(crate) fn hop(device_name: &str, gateway: Option<&str>, weight: u16) -> Hop {
    Hop { device: device(device_name), gateway: gateway.map(|g| g.parse().unwrap()), weight }
}

pub(crate) fn unicast<const N: usize>(hops: [Hop; N]) -> RouteKind {
    RouteKind::Unicast { hops: hops.into(), mtu: None }
}

pub(crate) fn route(destination: &str, kind: RouteKind) -> Route {
    Route { table: 10_000, destination: destination.parse().unwrap(), metric: 0, kind }
}

/// Every kind of default route, for a family.
pub(crate) fn kinds(family: Family) -> Vec<RouteKind> {
    // The kernel refuses an IPv6 gateway that another device's subnet holds, `onlink` or not.
    let (one, two, three, four) = match family {
        Family::V4 => ("192.0.2.3", "203.0.113.1", "203.0.113.9", "192.0.2.4"),
        Family::V6 => ("2001:db8:1::3", "fe80::1", "fe80::9", "2001:db8:2::3"),
    };
    vec![
        RouteKind::Throw,
        unicast([hop("a", Some(one), 1)]),
        unicast([hop("a", Some(one), 3), hop("b", Some(two), 1)]),
        unicast([hop("a", Some(one), 256), hop("b", Some(three), 2)]),
        RouteKind::Unicast { hops: vec![hop("b", Some(two), 1)], mtu: Some(1400) },
        unicast([hop("a", Some(two), 1), hop("b", Some(four), 7), hop("b", Some(two), 1)]),
        RouteKind::Unreachable,
        unicast([hop("b", None, 1)]),
    ]
}

pub(crate) fn any(family: Family) -> &'static str {
    if family == Family::V4 { "0.0.0.0/0" } else { "::/0" }
}

pub(crate) fn element(map: &str, key: NftKey, chain: &str) -> NftElement {
    NftElement { map: map.into(), key, value: NftValue::Goto(chain.into()) }
}

pub(crate) fn address(text: &str) -> NftKey {
    NftKey::Address(text.parse().unwrap())
}

/// A small table with every kind of set and map.
pub(crate) fn table() -> NftTable {
    let map = |kind, elements: Vec<(NftKey, NftValue)>| NftMap { kind, elements: elements.into_iter().collect() };
    let goto = |chain: &str| NftValue::Goto(chain.into());
    let rules = |text: &[&str]| text.iter().map(|t| (*t).to_owned()).collect();
    NftTable {
        family: TableFamily::Inet,
        counters: BTreeSet::from(["drop_source".to_owned(), "drop_exit".to_owned()]),
        maps: BTreeMap::from([
            ("pods4".into(), map(NftMapKind::Addresses(Family::V4), vec![(address("10.1.0.5"), NftValue::Member)])),
            ("pods6".into(), map(NftMapKind::Addresses(Family::V6), vec![(address("fd00::5"), NftValue::Member)])),
            ("sel4".into(), map(NftMapKind::AddressVerdict(Family::V4), vec![(address("10.1.0.5"), goto("s1"))])),
            ("sel6".into(), map(NftMapKind::AddressVerdict(Family::V6), vec![(address("fd00::5"), goto("s1"))])),
            ("exit".into(), map(NftMapKind::MarkVerdict, vec![(NftKey::Mark(0x100), goto("e1"))])),
        ]),
        chains: BTreeMap::from([
            (
                "s1".into(),
                sortie_core::nft::chain(None, rules(&["ip daddr 10.0.0.0/8 return", "counter name drop_exit drop"])),
            ),
            ("e1".into(), sortie_core::nft::chain(None, rules(&["meta mark set 0x100"]))),
            (
                "pre".into(),
                sortie_core::nft::chain(
                    Some("type filter hook prerouting priority -90; policy accept;"),
                    rules(&["ct mark & 0xff00 vmap @exit", "ip saddr vmap @sel4"]),
                ),
            ),
        ]),
    }
}

async fn apply(platform: &mut impl Platform, step: Step) {
    platform.apply(&step).await.unwrap_or_else(|error| panic!("{step:?}: {error:?}"));
}

async fn observed(platform: &mut impl Platform) -> NodeState {
    platform.observe().await.unwrap()
}

pub(crate) async fn rules_are_added_and_removed_any_number_of_times(platform: &mut impl Platform) {
    let mut expected = BTreeSet::new();
    for rule in rules() {
        for _ in 0..2 {
            apply(platform, Step::EnsureRule(rule.clone())).await;
        }
        expected.insert(rule);
        assert_eq!(observed(platform).await.rules, expected);
    }
    for rule in rules() {
        for _ in 0..2 {
            apply(platform, Step::RemoveRule(rule.clone())).await;
        }
        expected.remove(&rule);
        assert_eq!(observed(platform).await.rules, expected);
    }
}

pub(crate) async fn a_wider_rule_neither_hides_nor_takes_a_narrower_one(platform: &mut impl Platform) {
    for family in Family::ALL {
        let whole = rule(family);
        let ports = PortRange { first: 1, last: 9 };
        let narrow = Rule { protocol: Some(Protocol::Udp), source_ports: Some(ports), ..rule(family) };
        let tcp = Rule { protocol: Some(Protocol::Tcp), ..rule(family) };
        for rule in [&narrow, &tcp, &whole] {
            apply(platform, Step::EnsureRule(rule.clone())).await;
        }
        apply(platform, Step::RemoveRule(whole.clone())).await;
        let left = BTreeSet::from([narrow.clone(), tcp.clone()]);
        assert_eq!(observed(platform).await.rules, left, "the wider one goes, the narrower ones stay");
        apply(platform, Step::RemoveRule(whole.clone())).await;
        assert_eq!(observed(platform).await.rules, left, "an absent one takes nothing else");
        for rule in left {
            apply(platform, Step::RemoveRule(rule)).await;
        }
        assert_eq!(observed(platform).await.rules, BTreeSet::new());
    }
}

pub(crate) async fn routes_are_created_and_removed_any_number_of_times(platform: &mut impl Platform) {
    for family in Family::ALL {
        for kind in kinds(family) {
            let route = route(any(family), kind);
            for _ in 0..2 {
                apply(platform, Step::EnsureRoute(route.clone())).await;
                assert_eq!(observed(platform).await.routes, BTreeSet::from([route.clone()]));
            }
            for _ in 0..2 {
                apply(platform, Step::RemoveRoute(route.clone())).await;
                assert_eq!(observed(platform).await.routes, BTreeSet::new(), "{route:?}");
            }
        }
    }
}

pub(crate) async fn a_route_replaces_what_stands_at_its_place(platform: &mut impl Platform) {
    for family in Family::ALL {
        let last = Route { metric: ids::METRIC_LAST, ..route(any(family), RouteKind::Unreachable) };
        apply(platform, Step::EnsureRoute(last.clone())).await;
        for before in kinds(family) {
            for after in kinds(family) {
                let (before, after) = (route(any(family), before.clone()), route(any(family), after));
                apply(platform, Step::EnsureRoute(before.clone())).await;
                apply(platform, Step::EnsureRoute(after.clone())).await;
                let expected = BTreeSet::from([after.clone(), last.clone()]);
                assert_eq!(observed(platform).await.routes, expected, "{before:?}");
                apply(platform, Step::RemoveRoute(after)).await;
            }
        }
        apply(platform, Step::RemoveRoute(last)).await;
        assert_eq!(observed(platform).await.routes, BTreeSet::new());
    }
}

pub(crate) async fn a_removed_route_leaves_other_metrics(platform: &mut impl Platform) {
    for family in Family::ALL {
        let first = route(any(family), RouteKind::Unreachable);
        let second = Route { metric: 7, ..first.clone() };
        apply(platform, Step::EnsureRoute(second.clone())).await;
        apply(platform, Step::RemoveRoute(first.clone())).await;
        assert_eq!(observed(platform).await.routes, BTreeSet::from([second.clone()]));
        apply(platform, Step::EnsureRoute(first.clone())).await;
        apply(platform, Step::RemoveRoute(second.clone())).await;
        assert_eq!(observed(platform).await.routes, BTreeSet::from([first.clone()]));
        apply(platform, Step::RemoveRoute(first)).await;
    }
}

pub(crate) async fn a_route_through_a_missing_device_is_refused(platform: &mut impl Platform) {
    let route = route("0.0.0.0/0", unicast([hop("gone", Some("192.0.2.3"), 1)]));
    let error = platform.apply(&Step::EnsureRoute(route)).await.unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
    assert_eq!(observed(platform).await.routes, BTreeSet::new());
}

pub(crate) async fn a_table_is_replaced_edited_and_deleted(platform: &mut impl Platform) {
    assert_eq!(observed(platform).await.nft, None);
    apply(platform, Step::Nft(NftChange::Delete(TableFamily::Inet))).await;
    for _ in 0..2 {
        apply(platform, Step::Nft(NftChange::Replace(table()))).await;
        assert_eq!(observed(platform).await.nft, Some(table()));
    }
    let chain = sortie_core::nft::chain(None, vec!["meta mark set 0x200".into()]);
    let edit = NftEdit {
        family: TableFamily::Inet,
        chains: BTreeMap::from([("e2".into(), chain.clone())]),
        remove: vec![element("exit", NftKey::Mark(0x100), "e1")],
        add: vec![element("exit", NftKey::Mark(0x100), "e2"), element("exit", NftKey::Mark(0x200), "e2")],
        remove_chains: BTreeSet::from(["e1".into()]),
    };
    apply(platform, Step::Nft(NftChange::Edit(edit.clone()))).await;
    let mut expected = table();
    expected.chains.remove("e1");
    expected.chains.insert("e2".into(), chain);
    let goto = NftValue::Goto("e2".into());
    expected.maps.get_mut("exit").unwrap().elements =
        [(NftKey::Mark(0x100), goto.clone()), (NftKey::Mark(0x200), goto)].into();
    assert_eq!(observed(platform).await.nft, Some(expected.clone()));
    let counters: BTreeSet<_> = platform.counters().await.unwrap().into_keys().collect();
    assert!(counters.is_empty() || counters == expected.counters);
    assert!(platform.apply(&Step::Nft(NftChange::Edit(edit))).await.is_err(), "the chain is gone");
    assert_eq!(observed(platform).await.nft, Some(expected), "a refused transaction changes nothing");
    apply(platform, Step::Nft(NftChange::Delete(TableFamily::Inet))).await;
    assert_eq!(observed(platform).await.nft, None);
}

pub(crate) async fn elements_change_in_one_transaction(platform: &mut impl Platform) {
    apply(platform, Step::Nft(NftChange::Replace(table()))).await;
    let member = NftElement { map: "pods4".into(), key: address("10.1.0.6"), value: NftValue::Member };
    let sel = element("sel4", address("10.1.0.6"), "s1");
    let exit = element("exit", NftKey::Mark(0x0003_0200), "e1");
    let sel6 = element("sel6", address("fd00::6"), "s1");
    let add = vec![member, sel, exit.clone(), sel6];
    for _ in 0..2 {
        apply(platform, Step::Elements { family: TableFamily::Inet, remove: vec![], add: add.clone() }).await;
        let nft = observed(platform).await.nft.unwrap();
        for e in &add {
            assert_eq!(nft.maps[&e.map].elements.get(&e.key), Some(&e.value), "{e:?}");
        }
    }
    let other = element("exit", exit.key, "s1");
    let refused =
        platform.apply(&Step::Elements { family: TableFamily::Inet, remove: vec![], add: vec![other.clone()] }).await;
    assert!(refused.is_err(), "a key with another value is not overwritten");
    let absent = element("exit", NftKey::Mark(0xdd), "e1");
    apply(
        platform,
        Step::Elements {
            family: TableFamily::Inet,
            remove: vec![absent.clone(), exit.clone()],
            add: vec![other.clone()],
        },
    )
    .await;
    assert_eq!(observed(platform).await.nft.unwrap().maps["exit"].elements[&exit.key], other.value);
    for _ in 0..2 {
        let mut remove = add.clone();
        remove.push(absent.clone());
        apply(platform, Step::Elements { family: TableFamily::Inet, remove, add: vec![] }).await;
        assert_eq!(observed(platform).await.nft, Some(table()));
    }
}

pub(crate) async fn an_element_that_leads_nowhere_is_refused_and_changes_nothing(platform: &mut impl Platform) {
    apply(platform, Step::Nft(NftChange::Replace(table()))).await;
    let remove = vec![element("exit", NftKey::Mark(0x100), "e1")];
    let add = vec![element("exit", NftKey::Mark(0x200), "e1"), element("exit", NftKey::Mark(0x100), "nowhere")];
    assert!(platform.apply(&Step::Elements { family: TableFamily::Inet, remove, add }).await.is_err());
    assert_eq!(observed(platform).await.nft, Some(table()));
}

pub(crate) async fn elements_of_an_absent_table_are_absent(platform: &mut impl Platform) {
    let some = vec![element("exit", NftKey::Mark(0x100), "e1")];
    apply(platform, Step::Elements { family: TableFamily::Inet, remove: some.clone(), add: vec![] }).await;
    assert!(platform.apply(&Step::Elements { family: TableFamily::Inet, remove: vec![], add: some }).await.is_err());
    assert_eq!(platform.counters().await.unwrap(), BTreeMap::new());
}

pub(crate) async fn src_valid_mark_is_set_and_put_back(platform: &mut impl Platform) {
    for _ in 0..2 {
        apply(platform, Step::EnableSrcValidMark(device("a"))).await;
        assert_eq!(observed(platform).await.src_valid_mark, BTreeSet::from([device("a")]));
    }
    assert!(platform.apply(&Step::EnableSrcValidMark(device("gone"))).await.is_err());
    for _ in 0..2 {
        apply(platform, Step::RestoreSrcValidMark(device("a"))).await;
        assert_eq!(observed(platform).await.src_valid_mark, BTreeSet::new());
    }
}

pub(crate) async fn the_devices_are_among_the_facts(platform: &mut impl Platform) {
    let facts = platform.facts().await.unwrap();
    assert!(facts.devices[&device("a")].up && facts.devices[&device("b")].up);
    assert_eq!(facts.foreign_tables, BTreeSet::new());
}
