//! Notifications.

use std::collections::BTreeMap;
use std::time::Duration;

use sortie_core::ids::{self, Numbers};
use sortie_core::model::Family;
use sortie_core::state::{
    ConntrackFilter, NftChange, NftKey, NftMap, NftMapKind, NftTable, RouteKind, Rule, Step, TableFamily,
};
use sortie_kernel::blocking::Elements;
use sortie_kernel::{Event, Events, Linux, Platform as _};
use tokio::time::timeout;

use crate::suite::{device, element, hop, route, rule, table, unicast};
use crate::support::{in_namespace, nft, run};

/// Everything reported up to a change that is certainly reported: a new address.
async fn until_marker(events: &mut Events) -> Vec<Event> {
    run("ip addr add 192.0.2.14/32 dev lo");
    run("ip addr del 192.0.2.14/32 dev lo");
    let mut seen = Vec::new();
    // Both sockets are drained when nothing more comes and the marker was seen.
    loop {
        let patience = if seen.contains(&Event::Addresses) { 100 } else { 10_000 };
        match timeout(Duration::from_millis(patience), events.next()).await {
            Ok(event) => seen.push(event),
            Err(_) => break,
        }
    }
    assert!(seen.contains(&Event::Addresses), "the marker was not reported");
    // Link-local addresses come some time after their devices.
    seen.retain(|event| !matches!(event, Event::Addresses | Event::Device { name: None, .. }));
    seen.dedup();
    seen
}

fn open(linux: &Linux) -> Events {
    Events::open(linux.own(), Numbers::default()).unwrap()
}

/// `ip rule add pref 1300 from 10.9.9.9 lookup 10000`.
fn foreign_rule() -> Rule {
    let from = Some("10.9.9.9/32".parse().unwrap());
    Rule { priority: 1300, from, protocol: None, fwmark: None, table: 10_000, ..rule(Family::V4) }
}

async fn apply(linux: &mut Linux, steps: &[Step]) {
    for step in steps {
        linux.apply(step).await.unwrap();
    }
}

fn ours() -> Vec<Step> {
    vec![
        Step::EnsureRoute(route("0.0.0.0/0", unicast([hop("a", Some("192.0.2.3"), 1)]))),
        Step::EnsureRoute(route("::/0", RouteKind::Unreachable)),
        Step::EnsureRule(rule(Family::V4)),
        Step::EnsureRule(rule(Family::V6)),
        Step::Nft(NftChange::Replace(table())),
        Step::Elements {
            family: TableFamily::Inet,
            remove: vec![],
            add: vec![element("exit", NftKey::Mark(0x200), "e1")],
        },
        Step::PurgeConntrack(vec![ConntrackFilter::AnyMark { mask: ids::CT_MARK }]),
        Step::EnableSrcValidMark(device("a")),
    ]
}

#[test]
fn our_own_changes_are_not_reported() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        let mut events = open(&linux);
        let undo = [
            Step::RemoveRoute(route("0.0.0.0/0", unicast([hop("a", Some("192.0.2.3"), 1)]))),
            Step::RemoveRoute(route("::/0", RouteKind::Unreachable)),
            Step::RemoveRule(rule(Family::V4)),
            Step::RemoveRule(rule(Family::V6)),
            Step::Elements {
                family: TableFamily::Inet,
                remove: vec![element("exit", NftKey::Mark(0x200), "e1")],
                add: vec![],
            },
            Step::Nft(NftChange::Delete(TableFamily::Inet)),
            Step::RestoreSrcValidMark(device("a")),
        ];
        for _ in 0..20 {
            apply(&mut linux, &ours()).await;
            apply(&mut linux, &undo).await;
        }
        assert_eq!(until_marker(&mut events).await, []);
    });
}

#[test]
fn a_renewed_permission_is_no_change_by_others() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        let maps = [("lease".to_owned(), NftMap { kind: NftMapKind::Lease, elements: BTreeMap::new() })].into();
        apply(&mut linux, &[Step::Nft(NftChange::Replace(NftTable { maps, ..NftTable::default() }))]).await;
        let mut events = open(&linux);
        let mut elements = Elements::open_as(&linux.own()).unwrap();
        for _ in 0..20 {
            elements.renew_lease(Duration::from_millis(300)).unwrap();
        }
        assert_eq!(until_marker(&mut events).await, []);
        let mut foreign = Elements::open().unwrap();
        foreign.renew_lease(Duration::from_millis(300)).unwrap();
        assert_eq!(until_marker(&mut events).await, [Event::Nft]);
    });
}

#[test]
fn what_others_do_to_our_state_is_reported() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        let mut events = open(&linux);
        let cases = [
            ("ip rule del pref 1300", Event::Rules),
            ("ip -6 rule del pref 1300", Event::Rules),
            ("ip rule flush", Event::Rules),
            ("ip rule add pref 1300 from 10.9.9.9 lookup 10000 protocol 155", Event::NewRule(foreign_rule())),
            ("ip rule add pref 1300 from 10.9.9.9 blackhole protocol 155", Event::Rules),
            ("ip route flush table 10000", Event::Routes),
            ("ip -6 route flush table 10000", Event::Routes),
            ("ip route add 10.0.0.0/8 dev a table 10999", Event::Routes),
            ("nft flush ruleset", Event::Nft),
            ("nft delete table inet sortie", Event::Nft),
            ("nft flush chain inet sortie e1", Event::Nft),
            ("nft delete element inet sortie exit { 0x200 }", Event::Nft),
            ("nft add rule inet sortie s1 accept", Event::Nft),
        ];
        for (line, expected) in cases {
            apply(&mut linux, &ours()).await;
            run(line);
            assert_eq!(until_marker(&mut events).await, [expected], "{line}");
        }
    });
}

#[test]
fn what_does_not_concern_us_is_not_reported() {
    in_namespace(async |node| {
        let linux = node.linux();
        let mut events = open(&linux);
        run("ip rule add pref 1300 from 10.9.9.9 lookup 10000");
        run("ip rule add pref 5 from 10.9.9.9 lookup 10000");
        run("ip rule del pref 5");
        run("ip route add 10.0.0.0/8 dev a table 77");
        run("ip route add 10.0.0.0/8 dev a");
        nft("table inet other { set s { type ipv4_addr; }\n }\n table ip sortie { }");
        run("nft add element inet other s { 10.0.0.1 }");
        assert_eq!(until_marker(&mut events).await, []);
    });
}

#[test]
fn devices_and_connected_routes_are_reported() {
    in_namespace(async |node| {
        let linux = node.linux();
        let mut events = open(&linux);
        let mut expect = async |line: &str, expected: Event| {
            run(line);
            let found = async { while events.next().await != expected {} };
            timeout(Duration::from_secs(10), found).await.unwrap_or_else(|_| panic!("{line}"));
            while timeout(Duration::from_millis(50), events.next()).await.is_ok() {}
        };
        let told = |name: &str| {
            let index = nix::net::if_::if_nametoindex(name).unwrap();
            Event::Device { index, name: Some(name.to_owned()) }
        };
        let (a, b) = (told("a"), told("b"));
        expect("ip link set dev a-far down", a.clone()).await;
        expect("ip link set dev a down", a).await;
        expect("ip addr add 203.0.113.1/24 dev b", Event::Addresses).await;
        expect("ip addr add 203.0.114.1/24 dev b", Event::Routes).await;
        expect("ip -6 addr add 2001:db8:9::1/64 dev b nodad", Event::Routes).await;
        expect("ip link del dev b", b).await;
    });
}

#[test]
fn lost_notifications_are_reported() {
    in_namespace(async |node| {
        let linux = node.linux();
        let mut events = open(&linux);
        // Each notification takes more than 700 bytes of the 8 MiB that the kernel allows for a 4 MiB buffer.
        let lines = |verb: &str| {
            (0..8000)
                .map(|i| format!("rule {verb} pref 1300 from 10.{}.{}.1 lookup 10000\n", i / 250, i % 250))
                .collect::<String>()
        };
        let batch = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(batch.path(), lines("add") + &lines("del")).unwrap();
        run(&format!("ip -batch {}", batch.path().display()));
        let overrun = async { while events.next().await != Event::Overrun {} };
        timeout(Duration::from_secs(10), overrun).await.unwrap();
        // What fitted is still to be read.
        while timeout(Duration::from_millis(100), events.next()).await.is_ok() {}
        run("ip rule add pref 1300 from 10.9.9.9 lookup 10000 protocol 155");
        let alive = async { while events.next().await != Event::NewRule(foreign_rule()) {} };
        timeout(Duration::from_secs(10), alive).await.unwrap();
    });
}

#[test]
fn dropping_the_future_loses_no_event() {
    in_namespace(async |node| {
        let linux = node.linux();
        let mut events = open(&linux);
        for _ in 0..50 {
            let _ = timeout(Duration::ZERO, events.next()).await;
        }
        run("ip rule add pref 1300 from 10.9.9.9 lookup 10000 protocol 155");
        let is_link_local = |event: &Event| matches!(event, Event::Device { name: None, .. });
        let first = async {
            loop {
                let event = events.next().await;
                if !is_link_local(&event) {
                    break event;
                }
            }
        };
        assert_eq!(timeout(Duration::from_secs(10), first).await.unwrap(), Event::NewRule(foreign_rule()));
    });
}
