//! What may stand in annotations and in the net conf, and what may not.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{egress, net_conf};
use crate::model::{Egress, PortMatch, PortRange, Protocol, Reason, Rejection, Source};

fn asked(pairs: &[(&str, &str)]) -> Result<Vec<Egress>, Rejection> {
    let annotations: BTreeMap<_, _> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    egress("Pod core/sip-1", &annotations)
}

fn refusal(pairs: &[(&str, &str)]) -> Rejection {
    asked(pairs).expect_err(&format!("{pairs:?}"))
}

fn configured(routes: &Value) -> Result<Vec<Egress>, Rejection> {
    net_conf(routes.as_array().unwrap())
}

fn by(route: &str) -> Egress {
    Egress {
        route: Some(route.to_owned()),
        ports: vec![],
        destination_ports: vec![],
        destinations: vec![],
        except_destinations: vec![],
        source: Source::Device,
    }
}

fn port(protocol: Protocol, first: u16, last: u16) -> PortMatch {
    PortMatch { protocol, ports: PortRange { first, last } }
}

#[test]
fn annotations_of_others_ask_for_nothing() {
    assert_eq!(asked(&[]), Ok(vec![]));
    assert_eq!(asked(&[("example.com/route", "a"), ("route", "a")]), Ok(vec![]));
}

#[test]
fn plain_keys_make_one_entry_together() {
    let found = asked(&[
        ("sortie.dev/route", "a"),
        ("sortie.dev/ports", "udp:5060, TCP:8000-8010,sctp:7-7"),
        ("sortie.dev/destination-ports", "tcp:443"),
        ("sortie.dev/destinations", "10.0.0.0/8,fd00::/8, 192.0.2.1"),
        ("sortie.dev/except-destinations", "10.1.0.0/16"),
        ("sortie.dev/source", "service/sip"),
    ]);
    let networks = |list: &[&str]| list.iter().map(|n| n.parse().unwrap()).collect::<Vec<_>>();
    let expected = Egress {
        ports: vec![port(Protocol::Udp, 5060, 5060), port(Protocol::Tcp, 8000, 8010), port(Protocol::Sctp, 7, 7)],
        destination_ports: vec![port(Protocol::Tcp, 443, 443)],
        destinations: networks(&["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"]),
        except_destinations: networks(&["10.1.0.0/16"]),
        source: Source::Service("sip".to_owned()),
        ..by("a")
    };
    assert_eq!(found, Ok(vec![expected]));
}

#[test]
fn a_service_as_source_needs_no_route() {
    let found = asked(&[("sortie.dev/source", "service/sip"), ("sortie.dev/ports", "udp:5060")]).unwrap();
    assert_eq!((&found[0].route, &found[0].source), (&None, &Source::Service("sip".to_owned())));
}

#[test]
fn sources_are_read_in_every_form() {
    for (text, source) in [("device", Source::Device), ("pod", Source::Pod), ("Pod", Source::Pod)] {
        assert_eq!(asked(&[("sortie.dev/route", "a"), ("sortie.dev/source", text)]).unwrap()[0].source, source);
    }
    let service = || Source::Service("sip".to_owned());
    let forms = [
        (json!("device"), Source::Device),
        (json!("service/sip"), service()),
        (json!({"type": "Service", "serviceName": "sip"}), service()),
        (json!({"type": "Pod"}), Source::Pod),
        (json!({"type": "Device"}), Source::Device),
    ];
    for (written, source) in forms {
        assert_eq!(configured(&json!([{"route": "a", "source": written}])).unwrap()[0].source, source);
    }
}

#[test]
fn a_json_list_adds_entries() {
    let list =
        r#"[{"route":"b","ports":["udp:5060"]},{"route":"c","ports":[{"protocol":"TCP","port":1,"endPort":2}]}]"#;
    let found = asked(&[("sortie.dev/route", "a"), ("sortie.dev/routes", list)]).unwrap();
    let b = Egress { ports: vec![port(Protocol::Udp, 5060, 5060)], ..by("b") };
    let c = Egress { ports: vec![port(Protocol::Tcp, 1, 2)], ..by("c") };
    assert_eq!(found, [by("a"), b, c]);
}

#[test]
fn an_unknown_key_is_refused_with_those_that_are_known() {
    let refused = refusal(&[("sortie.dev/rout", "a")]);
    assert_eq!((refused.reason, refused.object.as_str()), (Reason::Invalid, "Pod core/sip-1"));
    assert_eq!(refused.field, "metadata.annotations.sortie.dev/rout");
    for key in ["route", "ports", "destination-ports", "destinations", "except-destinations", "source", "routes"] {
        assert!(refused.remedy.contains(&format!("sortie.dev/{key}")), "{refused}");
    }
}

#[test]
fn narrowing_without_route_or_service_is_refused() {
    for (key, value) in [
        ("ports", "udp:1"),
        ("destination-ports", "udp:1"),
        ("destinations", "10.0.0.0/8"),
        ("except-destinations", "10.0.0.0/8"),
        ("source", "pod"),
        ("source", "device"),
    ] {
        let refused = refusal(&[(&format!("sortie.dev/{key}"), value)]);
        assert_eq!(refused.field, format!("metadata.annotations.sortie.dev/{key}"));
        assert!(refused.remedy.contains("sortie.dev/route"), "{refused}");
    }
}

#[test]
fn malformed_values_are_refused_by_key() {
    let table = [
        ("route", vec!["", "Signalling", "a b", "-a", "a\nb"]),
        ("ports", vec!["", "5060", "udp:", "udp:0", "udp:65536", "udp:2-1", "icmp:1", "udp:+1", "udp:1,", "udp:1-2-3"]),
        ("destination-ports", vec!["target", "tcp:http", "tcp: 1"]),
        ("destinations", vec!["", "10.0.0.1/8", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "x", "::ffff:10.0.0.1"]),
        ("except-destinations", vec!["10.0.0.0/8 10.1.0.0/16", "10.0.0.0/+8", "010.0.0.0/8", "10.0.0.0/255.0.0.0"]),
        ("source", vec!["", "service", "service/", "service/A", "node", "service/a/b"]),
        ("routes", vec!["", "{}", "[1]", "[{}]", r#"[{"route":"a","port":[]}]"#, r#"[{"route":"a","ports":"udp:1"}]"#]),
    ];
    for (key, values) in table {
        for value in values {
            let key = format!("sortie.dev/{key}");
            let refused = refusal(&[("sortie.dev/route", "a"), (&key, value)]);
            assert!(refused.field.starts_with(&format!("metadata.annotations.{key}")), "{value:?}: {refused}");
            assert_eq!(refused.reason, Reason::Invalid, "{value:?}");
            assert!(!refused.remedy.is_empty() && !refused.message.is_empty());
        }
    }
}

#[test]
fn host_bits_are_refused_with_the_right_network() {
    let refused = refusal(&[("sortie.dev/route", "a"), ("sortie.dev/destinations", "10.20.3.4/16")]);
    assert!(refused.remedy.contains("10.20.0.0/16"), "{refused}");
}

#[test]
fn lists_have_a_limit() {
    let ports = |n: u16| (1..=n).map(|p| format!("udp:{p}")).collect::<Vec<_>>().join(",");
    let networks = |n: u16| (0..n).map(|p| format!("10.{}.{}.0/24", p / 250, p % 250)).collect::<Vec<_>>().join(",");
    assert!(asked(&[("sortie.dev/route", "a"), ("sortie.dev/ports", &ports(64))]).is_ok());
    refusal(&[("sortie.dev/route", "a"), ("sortie.dev/ports", &ports(65))]);
    assert!(asked(&[("sortie.dev/route", "a"), ("sortie.dev/destinations", &networks(256))]).is_ok());
    refusal(&[("sortie.dev/route", "a"), ("sortie.dev/destinations", &networks(257))]);
}

#[test]
fn net_conf_refusals_name_index_and_field() {
    let table = [
        (json!([{"route": "a"}, {"route": "b", "ports": ["udp:x"]}]), "routes[1].ports[0]"),
        (json!([{"route": "a", "portz": []}]), "routes[0].portz"),
        (json!([{"ports": ["udp:1"]}]), "routes[0].route"),
        (json!([{"route": null}]), "routes[0].route"),
        (json!([{"route": 1}]), "routes[0].route"),
        (json!(["a"]), "routes[0]"),
        (
            json!([{"route": "a", "ports": [{"protocol": "UDP", "port": 2, "endPort": 1}]}]),
            "routes[0].ports[0].endPort",
        ),
        (json!([{"route": "a", "ports": [{"port": 2}]}]), "routes[0].ports[0].protocol"),
        (json!([{"route": "a", "ports": [{"protocol": "UDP", "port": 2, "end": 3}]}]), "routes[0].ports[0].end"),
        (json!([{"route": "a", "ports": [{"protocol": "UDP", "port": 65536}]}]), "routes[0].ports[0].port"),
        (json!([{"route": "a", "ports": [{"protocol": "UDP", "port": 1.5}]}]), "routes[0].ports[0].port"),
        (json!([{"route": "a", "destinations": ["10.0.0.1/8"]}]), "routes[0].destinations[0]"),
        (json!([{"route": "a", "source": {"type": "Service"}}]), "routes[0].source.serviceName"),
        (json!([{"route": "a", "source": {"type": "Pod", "serviceName": "x"}}]), "routes[0].source.serviceName"),
        (json!([{"route": "a", "source": {"type": "service"}}]), "routes[0].source.type"),
        (json!([{"route": "a", "source": "node"}]), "routes[0].source"),
    ];
    for (routes, field) in table {
        let refused = configured(&routes).expect_err(&routes.to_string());
        assert_eq!(refused.field, field, "{refused}");
    }
}

#[test]
fn two_routes_for_one_port_are_refused_with_both_names_and_the_port() {
    let routes = json!([{"route": "a", "ports": ["udp:5000-5060"]}, {"route": "b", "ports": ["tcp:1", "udp:5060"]}]);
    let refused = configured(&routes).unwrap_err();
    assert_eq!((refused.reason, refused.field.as_str()), (Reason::Conflicted, "routes[1]"));
    for part in ["route a", "route b", "udp:5060"] {
        assert!(refused.message.contains(part), "{refused}");
    }
    let list = r#"[{"route":"b"}]"#;
    let refused = refusal(&[("sortie.dev/route", "a"), ("sortie.dev/routes", list)]);
    assert_eq!(
        (refused.reason, refused.field.as_str()),
        (Reason::Conflicted, "metadata.annotations.sortie.dev/routes[0]")
    );
    assert!(refused.message.contains("all traffic"), "{refused}");
}

#[test]
fn entries_that_differ_in_port_or_far_end_do_not_conflict() {
    let table = [
        json!([{"route": "a"}, {"route": "b", "ports": ["udp:1"]}]),
        json!([{"route": "a", "ports": ["tcp:1"]}, {"route": "b", "ports": ["udp:1"]}]),
        json!([{"route": "a", "ports": ["udp:1"]}, {"route": "b", "ports": ["udp:2-3"]}]),
        json!([{"route": "a", "ports": ["udp:1"]}, {"route": "a", "ports": ["udp:1"]}]),
        json!([{"route": "a", "destinations": ["10.0.0.0/8"]}, {"route": "b", "destinations": ["10.1.0.0/16"]}]),
        json!([{"route": "a", "destinations": ["10.0.0.0/8"]}, {"route": "b"}]),
        json!([{"route": "a", "destinationPorts": ["tcp:443"]}, {"route": "b", "destinationPorts": ["tcp:80"]}]),
    ];
    for routes in table {
        assert!(configured(&routes).is_ok(), "{routes}");
    }
}

#[test]
fn entries_that_share_port_and_far_end_conflict() {
    let table = [
        json!([{"route": "a", "destinations": ["10.0.0.0/8"]}, {"route": "b", "destinations": ["fd00::/8", "10.0.0.0/8"]}]),
        json!([{"route": "a", "destinationPorts": ["tcp:443"]}, {"route": "b", "destinationPorts": ["tcp:400-500"]}]),
        json!([{"source": "service/s", "ports": ["udp:1"]}, {"route": "b", "ports": ["udp:1"]}]),
    ];
    for routes in table {
        assert_eq!(configured(&routes).expect_err(&routes.to_string()).reason, Reason::Conflicted);
    }
}

proptest! {
    #[test]
    fn arbitrary_annotations_never_panic(key in "(route|ports|destinations|source|routes|x)", value in ".{0,40}") {
        let key = format!("sortie.dev/{key}");
        let _ = asked(&[("sortie.dev/route", "a"), (&key, &value)]);
        let _ = asked(&[(&key, &value)]);
    }

    #[test]
    fn every_port_range_is_read_as_written(first in 1..=u16::MAX, more in 0..=u16::MAX) {
        let last = first.saturating_add(more);
        let found = asked(&[("sortie.dev/route", "a"), ("sortie.dev/ports", &format!("sctp:{first}-{last}"))]).unwrap();
        prop_assert_eq!(&found[0].ports, &vec![port(Protocol::Sctp, first, last)]);
    }
}
