//! Which flow is tried first.

use super::*;

fn routes_in_order(world: &World) -> Vec<String> {
    let name = |flow: Flow| match flow.path {
        PathKey::Route { route, .. } => route,
        PathKey::Address { service, .. } => service.to_string(),
        PathKey::Closed => "closed".to_owned(),
    };
    flows(world).into_iter().map(name).collect()
}

fn policies(entries: Vec<(&str, Egress)>) -> World {
    let named = |(route_name, egress): (&str, Egress)| {
        [
            Object::Route(route(route_name)),
            Object::Policy(policy(route_name, Egress { route: Some(route_name.into()), ..egress })),
        ]
    };
    World::of(entries.into_iter().flat_map(named))
}

#[test]
fn narrow_matchers_come_before_wide_ones() {
    let udp = |first, last| ports(&[(Protocol::Udp, first, last)]);
    let any = by("");
    let world = policies(vec![
        ("whole", any.clone()),
        ("cidr-8", Egress { destinations: networks(&["10.0.0.0/8"]), ..any.clone() }),
        ("cidr-24", Egress { destinations: networks(&["10.1.1.0/24"]), ..any.clone() }),
        ("to-range", Egress { destination_ports: udp(1, 100), ..any.clone() }),
        ("to-port", Egress { destination_ports: udp(53, 53), ..any.clone() }),
        ("from-wide", Egress { ports: udp(5000, 6000), ..any.clone() }),
        ("from-narrow", Egress { ports: udp(5060, 5070), ..any.clone() }),
        ("from-port", Egress { ports: udp(5060, 5060), ..any.clone() }),
        ("from-port-to-cidr", Egress { ports: udp(5060, 5060), destinations: networks(&["10.0.0.0/8"]), ..any }),
    ]);
    let expected = [
        "from-port-to-cidr",
        "from-port",
        "from-narrow",
        "from-wide",
        "to-port",
        "to-range",
        "cidr-24",
        "cidr-8",
        "whole",
    ];
    assert_eq!(routes_in_order(&world), expected);
}

#[test]
fn the_pod_wins_over_policy_policy_over_service_and_service_over_namespace() {
    let narrow = |r| Egress { ports: ports(&[(Protocol::Udp, 5060, 5060)]), ..by(r) };
    let by_namespace = Object::Namespace(namespace(vec![narrow("c")]));
    let by_service = Object::Service(annotated_service("sip", &[("sortie.dev/route", "b")]));
    let by_policy = Object::Policy(policy("p", narrow("b")));
    let by_pod = Object::Pod(pod(vec![narrow("a")]));
    let bare = Object::Pod(pod(vec![]));

    assert_eq!(routes_in_order(&world([bare.clone(), by_namespace.clone()])), ["c"]);
    assert_eq!(routes_in_order(&world([bare.clone(), by_namespace.clone(), by_service.clone()])), ["closed"]);
    assert_eq!(routes_in_order(&world([bare, by_namespace.clone(), by_service.clone(), by_policy.clone()])), ["b"]);
    assert_eq!(routes_in_order(&world([by_pod, by_namespace, by_service, by_policy])), ["a"]);
}

#[test]
fn the_older_policy_wins_then_the_smaller_name() {
    let aged = |object: &str, route: &str, created: &str| {
        let mut policy = policy(object, by(route));
        policy.meta.created = created.to_owned();
        Object::Policy(policy)
    };
    let old = aged("z", "a", "2024-01-01T00:00:00Z");
    let young = aged("y", "b", "2025-01-01T00:00:00Z");
    let unknown = aged("a", "c", "");
    assert_eq!(routes_in_order(&world([old, young.clone(), unknown.clone()])), ["a"]);
    assert_eq!(routes_in_order(&world([young, unknown.clone()])), ["b"]);
    assert_eq!(routes_in_order(&world([unknown, aged("b", "b", "")])), ["c"]);
}

#[test]
fn a_pod_wish_of_lower_specificity_does_not_shadow_a_policy_port() {
    let port = Egress { ports: ports(&[(Protocol::Tcp, 80, 80)]), ..by("b") };
    let world = world([Object::Pod(pod(vec![by("a")])), Object::Policy(policy("p", port))]);
    assert_eq!(routes_in_order(&world), ["b", "a"]);
}
