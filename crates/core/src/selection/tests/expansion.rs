//! From an entry to matchers.

use super::*;

fn matchers(egress: Egress, route: ServiceOutboundRoute) -> Vec<FlowMatch> {
    let world = World::of([Object::Route(route), Object::Pod(pod(vec![egress]))]);
    flows(&world).into_iter().map(|f| f.matcher).collect()
}

fn refusal(egress: Egress, route: ServiceOutboundRoute) -> Rejection {
    let world = World::of([Object::Route(route), Object::Pod(pod(vec![egress]))]);
    select(&world, &attachment()).unwrap_err()
}

fn to(list: &[&str]) -> Egress {
    Egress { destinations: networks(list), ..by("a") }
}

fn serving(list: &[&str], except: &[&str]) -> ServiceOutboundRoute {
    ServiceOutboundRoute { destinations: networks(list), except_destinations: networks(except), ..route("a") }
}

#[test]
fn no_field_at_all_matches_the_whole_pod() {
    assert_eq!(matchers(by("a"), route("a")), [FlowMatch::default()]);
}

#[test]
fn fields_are_combined_and_values_are_alternatives() {
    let egress = Egress {
        ports: ports(&[(Protocol::Udp, 5060, 5060), (Protocol::Udp, 5070, 5080)]),
        destination_ports: ports(&[(Protocol::Udp, 53, 53)]),
        destinations: networks(&["10.1.0.0/16", "fd00::/8"]),
        ..by("a")
    };
    let found = matchers(egress, route("a"));
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|m| m.protocol == Some(Protocol::Udp) && m.destination_ports == Some(range(53, 53))));
}

#[test]
fn ports_of_different_protocols_are_not_combined() {
    let egress = Egress {
        ports: ports(&[(Protocol::Udp, 5060, 5060), (Protocol::Tcp, 5061, 5061)]),
        destination_ports: ports(&[(Protocol::Tcp, 443, 443)]),
        ..by("a")
    };
    let found = matchers(egress.clone(), route("a"));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].protocol, found[0].source_ports), (Some(Protocol::Tcp), Some(range(5061, 5061))));

    let none = refusal(Egress { ports: ports(&[(Protocol::Sctp, 1, 1)]), ..egress }, route("a"));
    assert_eq!(none.reason, Reason::Invalid);
    assert!(none.message.contains("no protocol in common"), "{none}");
}

#[test]
fn destinations_are_cut_to_those_of_the_route() {
    let found =
        matchers(to(&["10.0.0.0/8", "172.16.5.9/24", "192.0.2.0/24"]), serving(&["10.1.0.0/16", "172.16.0.0/12"], &[]));
    let networks: Vec<_> = found.iter().map(|m| m.destination.unwrap().to_string()).collect();
    assert_eq!(networks, ["172.16.5.0/24", "10.1.0.0/16"]);
}

#[test]
fn a_route_that_serves_none_of_the_destinations_is_refused() {
    let rejection = refusal(to(&["10.0.0.0/8"]), serving(&["192.0.2.0/24"], &[]));
    assert_eq!((rejection.reason, rejection.object.as_str()), (Reason::Invalid, "Pod core/sip-1"));
    assert!(rejection.field.contains("destinations"), "{rejection}");
}

#[test]
fn exceptions_of_both_sides_are_joined_and_kept_minimal() {
    let egress = Egress { except_destinations: networks(&["10.9.0.0/16", "192.0.2.0/24"]), ..to(&["10.0.0.0/8"]) };
    let found = matchers(egress, serving(&[], &["10.9.8.0/24", "10.2.0.1/16", "fd00::/8"]));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].except, networks(&["10.2.0.0/16", "10.9.0.0/16"]));
}

#[test]
fn a_destination_that_is_excepted_as_a_whole_disappears() {
    let egress = Egress { except_destinations: networks(&["10.0.0.0/8"]), ..to(&["10.1.0.0/16", "192.0.2.0/24"]) };
    let found = matchers(egress, route("a"));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].destination, Some("192.0.2.0/24".parse().unwrap()));
    assert_eq!(found[0].except, []);

    let nothing = Egress { except_destinations: networks(&["0.0.0.0/0", "::/0"]), ..by("a") };
    assert_eq!(refusal(nothing, route("a")).reason, Reason::Invalid);
}

#[test]
fn too_many_combinations_are_refused() {
    let many: Vec<_> = (1..=33).map(|p| (Protocol::Tcp, p, p)).collect();
    let egress = |n: usize| Egress { ports: ports(&many[..n]), destination_ports: ports(&many[..32]), ..by("a") };
    assert_eq!(matchers(egress(32), route("a")).len(), 1024);
    let rejection = refusal(egress(33), route("a"));
    assert_eq!(rejection.reason, Reason::Invalid);
    assert!(rejection.message.contains("1024"), "{rejection}");
}

#[test]
fn too_many_flows_of_several_policies_are_refused_at_add_and_closed_afterwards() {
    let block = |start: u16| (start..start + 600).map(|p| (Protocol::Tcp, p, p)).collect::<Vec<_>>();
    let with = |object: &str, start| Object::Policy(policy(object, Egress { ports: ports(&block(start)), ..by("a") }));
    let world = world([with("p", 1000), with("q", 2000)]);
    assert_eq!(select(&world, &attachment()).unwrap_err().reason, Reason::Invalid);
    let closed = Flow { matcher: FlowMatch::default(), path: PathKey::Closed };
    assert_eq!(select_admitted(&world, &attachment()).flows, [closed]);
    assert_eq!(accepted(&world, &key(Kind::Pod, "core", "sip-1")).reason, Reason::Invalid);
}
