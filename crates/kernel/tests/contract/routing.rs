//! Rules, routes and facts as iproute2 sees them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;

use serde_json::{Value, json};
use sortie_core::ids::{self, Numbers};
use sortie_core::model::{Family, PortRange, Protocol};
use sortie_core::state::{Route, RouteKind, Rule, Step};
use sortie_kernel::blocking::Rules;
use sortie_kernel::{Linux, Platform as _};

use crate::suite::{any, device, hop, kinds, route, rule, rules, unicast};
use crate::support::{in_namespace, json as read, nft, run};

/// Every foreign thing that resembles ours.
fn foreign() {
    for family in ["-4", "-6"] {
        let (pod, net) = if family == "-4" { ("10.1.0.5", "198.51.100.0/24") } else { ("fd00::5", "2001:db8:f::/48") };
        run(&format!("ip {family} rule add pref 1300 from {pod} fwmark 0x100/0x3f00 lookup 10000 protocol static"));
        run(&format!(
            "ip {family} rule add pref 1310 from {pod} ipproto udp sport 5000-5009 lookup 11063 protocol boot"
        ));
        run(&format!("ip {family} rule add pref 1399 fwmark 0x100/0x3f00 lookup 10000"));
        run(&format!("ip {family} route add {net} dev a table 10000 metric 77 proto static"));
        run(&format!("ip {family} route add throw {net} table 11063 metric 77"));
        run(&format!("ip {family} route add unreachable default table 9999"));
    }
    nft("table inet sorties { map exit { type mark : verdict; elements = { 0x100 : accept }\n }\n }
         table ip sortie { set pods4 { type ipv4_addr; elements = { 10.1.0.5 }\n }\n }");
}

fn everything() -> String {
    ["ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all", "nft list ruleset"]
        .map(run)
        .join("\n")
}

fn rule_texts(family: &str) -> Vec<String> {
    let shown = run(&format!("ip {family} rule show"));
    shown.lines().map(|l| l.replace('\t', " ").trim().to_owned()).filter(|l| l.ends_with("proto 155")).collect()
}

#[test]
fn foreign_state_is_untouched_and_invisible() {
    in_namespace(async |node| {
        foreign();
        let before = everything();
        let mut linux = node.linux();
        assert_eq!(linux.observe().await.unwrap(), sortie_core::state::NodeState::default());
        assert_eq!(linux.facts().await.unwrap().foreign_tables, BTreeSet::from([10_000, ids::TABLE_NONE]));
        let wild: Vec<_> = rules().into_iter().chain(rules().into_iter().map(|r| Rule { fwmark: None, ..r })).collect();
        let routes: Vec<_> =
            Family::ALL.into_iter().flat_map(|f| kinds(f).into_iter().map(move |k| route(any(f), k))).collect();
        let steps = |f: &dyn Fn(Rule) -> Step, g: &dyn Fn(Route) -> Step| -> Vec<Step> {
            wild.iter().cloned().map(f).chain(routes.iter().cloned().map(g)).collect()
        };
        let (ensure, remove) =
            (steps(&Step::EnsureRule, &Step::EnsureRoute), steps(&Step::RemoveRule, &Step::RemoveRoute));
        for step in remove.iter().chain(&ensure).chain(&remove) {
            linux.apply(step).await.unwrap();
        }
        linux.apply(&Step::Nft(sortie_core::state::NftChange::Replace(crate::suite::table()))).await.unwrap();
        linux
            .apply(&Step::Nft(sortie_core::state::NftChange::Delete(sortie_core::state::TableFamily::Inet)))
            .await
            .unwrap();
        assert_eq!(everything(), before);
    });
}

#[test]
fn rules_are_what_was_asked_for() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        for rule in rules() {
            linux.apply(&Step::EnsureRule(rule)).await.unwrap();
        }
        assert_eq!(
            rule_texts("-4"),
            [
                "1290: from all fwmark 0x3e00/0x3f00 lookup main proto 155",
                "1300: from 10.1.0.5 fwmark 0x100/0x3f00 lookup 10000 proto 155",
                "1300: from 10.1.0.5 fwmark 0x100/0x3f00 ipproto udp sport 5000-5009 lookup 10000 proto 155",
                "1300: from 10.1.0.5 to 198.51.100.0/24 fwmark 0x100/0x3f00 ipproto tcp dport 53 lookup 10000 proto 155",
                "1300: from 10.1.0.5 fwmark 0x100/0x3f00 ipproto sctp sport 53 lookup 10000 proto 155",
                "1310: from 10.1.0.5 ipproto udp sport 5000-5009 lookup 11063 proto 155",
                "1399: from all fwmark 0x100/0x3f00 lookup 10000 proto 155",
            ]
        );
        assert_eq!(rule_texts("-6").len(), 7);
        let actions: BTreeSet<String> =
            read("ip -j rule").as_array().unwrap().iter().map(|r| format!("{}", r["table"].is_string())).collect();
        assert_eq!(actions, BTreeSet::from(["true".to_owned()]), "every rule looks up a table");
    });
}

#[test]
fn only_the_rule_named_goes_among_equal_priorities() {
    in_namespace(async |_| {
        let mut ours = Rules::open().unwrap();
        let whole = rule(Family::V4);
        let narrow = Rule {
            protocol: Some(Protocol::Udp),
            source_ports: Some(PortRange { first: 7, last: 7 }),
            ..whole.clone()
        };
        let other = Rule { from: Some("10.1.0.6/32".parse().unwrap()), ..whole.clone() };
        // A duplicate as two racing writers could leave it, and a narrower one in front of both.
        for rule in [&narrow, &other, &whole] {
            ours.ensure(rule).unwrap();
        }
        run("ip rule add pref 1300 from 10.1.0.5 fwmark 0x100/0x3f00 ipproto tcp lookup 10000 protocol 155");
        ours.remove(&whole).unwrap();
        let mut left = rule_texts("-4");
        left.sort();
        assert_eq!(
            left,
            [
                "1300: from 10.1.0.5 fwmark 0x100/0x3f00 ipproto tcp lookup 10000 proto 155",
                "1300: from 10.1.0.5 fwmark 0x100/0x3f00 ipproto udp sport 7 lookup 10000 proto 155",
                "1300: from 10.1.0.6 fwmark 0x100/0x3f00 lookup 10000 proto 155",
            ]
        );
        assert_eq!(ours.list(1300..=1300).unwrap().len(), 3);
        assert_eq!(ours.list(1301..=1399).unwrap().len(), 0);
    });
}

#[test]
fn a_rule_of_somebody_else_does_not_count_as_ours() {
    in_namespace(async |_| {
        run("ip rule add pref 1300 from 10.1.0.5 fwmark 0x100/0x3f00 lookup 10000 protocol static");
        let mut ours = Rules::open().unwrap();
        ours.ensure(&rule(Family::V4)).unwrap();
        assert_eq!(rule_texts("-4").len(), 1);
        ours.remove(&rule(Family::V4)).unwrap();
        ours.remove(&rule(Family::V4)).unwrap();
        assert_eq!(rule_texts("-4").len(), 0);
        assert!(run("ip rule show").contains("10.1.0.5"));
    });
}

#[test]
fn a_refusal_names_the_rule_and_what_the_kernel_said() {
    in_namespace(async |_| {
        let impossible = Rule { source_ports: Some(PortRange { first: 9, last: 3 }), ..rule(Family::V4) };
        let error = Rules::open().unwrap().ensure(&impossible).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("add rule 1300: from 10.1.0.5/32 fwmark 0x100/0x3f00 sport 9-3"), "{text}");
        assert!(text.contains("kernel: "), "{text}");
    });
}

#[test]
fn routes_are_what_was_asked_for() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        let several = unicast([hop("a", Some("192.0.2.3"), 3), hop("b", Some("203.0.113.1"), 256)]);
        let route4 = Route { kind: several, ..route("0.0.0.0/0", RouteKind::Throw) };
        linux.apply(&Step::EnsureRoute(route4)).await.unwrap();
        let mtu = RouteKind::Unicast { hops: vec![hop("a", Some("fe80::1"), 1)], mtu: Some(1400) };
        linux.apply(&Step::EnsureRoute(route("::/0", mtu))).await.unwrap();
        let last = Route { metric: ids::METRIC_LAST, ..route("::/0", RouteKind::Unreachable) };
        linux.apply(&Step::EnsureRoute(last)).await.unwrap();
        linux.apply(&Step::EnsureRoute(route("fd00::/8", RouteKind::Throw))).await.unwrap();

        let shown = read("ip -j -4 route show table 10000");
        let hops = &shown[0]["nexthops"];
        assert_eq!((&shown[0]["protocol"], &shown[0]["dst"]), (&json!("155"), &json!("default")));
        let summary = |i: usize| {
            [&hops[i]["gateway"], &hops[i]["dev"], &hops[i]["weight"], &hops[i]["flags"]].map(Value::to_string)
        };
        assert_eq!(summary(0), [r#""192.0.2.3""#, r#""a""#, "3", r#"["onlink"]"#]);
        assert_eq!(summary(1), [r#""203.0.113.1""#, r#""b""#, "256", r#"["onlink"]"#]);

        let shown = run("ip -6 route show table 10000");
        let lines: Vec<_> = shown.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[0], "throw fd00::/8 dev lo proto 155 metric 1024 pref medium");
        assert_eq!(lines[1], "default via fe80::1 dev a proto 155 metric 1024 onlink mtu 1400 pref medium");
        assert_eq!(lines[2], "unreachable default dev lo proto 155 metric 4294967295 pref medium");
    });
}

#[test]
fn a_replaced_ipv6_route_leaves_no_hop_behind() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        for before in kinds(Family::V6) {
            for after in kinds(Family::V6) {
                linux.apply(&Step::EnsureRoute(route("::/0", before.clone()))).await.unwrap();
                linux.apply(&Step::EnsureRoute(route("::/0", after.clone()))).await.unwrap();
                let shown = read("ip -j -6 route show table 10000");
                let hops = match &after {
                    RouteKind::Unicast { hops, .. } => hops.len(),
                    _ => 0,
                };
                let nexthops = shown[0]["nexthops"].as_array().map_or(hops.min(1), Vec::len);
                assert_eq!((shown.as_array().unwrap().len(), nexthops), (1, hops), "{before:?} {after:?}: {shown}");
                linux.apply(&Step::RemoveRoute(route("::/0", after))).await.unwrap();
                assert_eq!(run("ip -6 route show table 10000"), "");
            }
        }
    });
}

#[test]
fn a_foreign_route_in_our_table_is_not_removed() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        run("ip route add unreachable default table 10000 proto static");
        linux.apply(&Step::RemoveRoute(route("0.0.0.0/0", RouteKind::Unreachable))).await.unwrap();
        assert!(run("ip route show table 10000").contains("unreachable"));
    });
}

#[test]
fn a_device_that_is_down_or_without_carrier_is_not_up() {
    in_namespace(async |node| {
        let mut linux = node.linux();
        run("ip link set dev a down");
        run("ip link set dev b-far down");
        let facts = linux.facts().await.unwrap();
        assert!(!facts.devices[&device("a")].up && !facts.devices[&device("b")].up && facts.devices[&device("lo")].up);
        let shown = read("ip -j addr show dev b");
        assert_eq!(json!(facts.devices[&device("b")].index), shown[0]["ifindex"]);
        let addresses: Vec<_> = facts.devices[&device("b")].addresses.iter().map(ToString::to_string).collect();
        assert!(
            addresses.contains(&"192.0.2.2/28".into()) && addresses.contains(&"2001:db8:2::1/64".into()),
            "{addresses:?}"
        );
    });
}

#[test]
fn src_valid_mark_survives_a_restart_and_somebody_elses_change() {
    in_namespace(async |node| {
        let value = |d: &str| run(&format!("sysctl -n net/ipv4/conf/{d}/src_valid_mark")).trim().to_owned();
        run("ip link add name v.7 type veth peer name v7-far");
        run("sysctl -q net/ipv4/conf/b/src_valid_mark=1");
        for name in ["a", "b", "v.7"] {
            node.linux().apply(&Step::EnableSrcValidMark(device(name))).await.unwrap();
            assert_eq!(value(name), "1");
        }
        let all = BTreeSet::from(["a", "b", "v.7"].map(device));
        assert_eq!(node.linux().observe().await.unwrap().src_valid_mark, all, "a new process knows");
        run("sysctl -q net/ipv4/conf/a/src_valid_mark=0");
        assert_eq!(node.linux().observe().await.unwrap().src_valid_mark.len(), 2, "what was undone is not in force");
        run("sysctl -q net/ipv4/conf/a/src_valid_mark=2");
        for name in ["a", "b", "v.7"] {
            node.linux().apply(&Step::RestoreSrcValidMark(device(name))).await.unwrap();
        }
        assert_eq!((value("a"), value("b"), value("v.7")), ("2".into(), "1".into(), "0".into()));
        assert_eq!(std::fs::read_to_string(node.saved()).unwrap(), "{}");
        run("ip link del dev v.7");
        std::fs::write(node.saved(), "{ half").unwrap();
        assert_eq!(
            node.linux().observe().await.unwrap().src_valid_mark,
            BTreeSet::new(),
            "a corrupt file stops nothing"
        );
    });
}

#[test]
fn nothing_is_changed_that_could_not_be_recorded() {
    in_namespace(async |node| {
        let missing = node.saved().with_file_name("missing");
        let mut linux = Linux::open(Numbers::default(), missing.join("sysctl.json")).unwrap();
        for _ in 0..2 {
            assert!(linux.apply(&Step::EnableSrcValidMark(device("a"))).await.is_err());
            assert_eq!(run("sysctl -n net/ipv4/conf/a/src_valid_mark"), "0\n");
        }
        std::fs::create_dir(&missing).unwrap();
        linux.apply(&Step::EnableSrcValidMark(device("a"))).await.unwrap();
        assert!(std::fs::read_to_string(missing.join("sysctl.json")).unwrap().contains("\"a\": \"0\""));
    });
}

#[test]
fn a_list_is_complete_while_others_change_rules() {
    in_namespace(async |node| {
        let mut ours = Rules::open().unwrap();
        let expected: BTreeSet<_> = (0..500_u32)
            .map(|i| Rule {
                from: Some(IpAddr::from([10, 2, (i / 250) as u8, (i % 250) as u8]).into()),
                ..rule(Family::V4)
            })
            .collect();
        expected.iter().for_each(|rule| ours.ensure(rule).unwrap());
        let batch = node.saved().with_file_name("batch");
        std::fs::write(&batch, "rule add pref 7 lookup 7\nrule del pref 7\n".repeat(10_000)).unwrap();
        let mut churn = Command::new("ip").arg("-batch").arg(&batch).spawn().unwrap();
        let (mut whole, mut gave_up) = (0, 0);
        while churn.try_wait().unwrap().is_none() {
            match ours.list(0..=u32::MAX) {
                Ok(seen) => {
                    assert_eq!(seen.len(), expected.len());
                    whole += 1;
                }
                Err(_) => gave_up += 1,
            }
        }
        println!("lists under churn: {whole} whole, {gave_up} given up");
        assert_eq!(ours.list(0..=u32::MAX).unwrap(), expected);
    });
}
