//! Laws of selection over generated worlds.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::{select as one_of, subsequence};

use super::*;
use crate::selection::conflict;
use crate::selection::expand;
use crate::selection::rank::{self, Candidate};

const PROTOCOLS: [Protocol; 2] = [Protocol::Udp, Protocol::Tcp];
const NETWORKS: [&str; 7] =
    ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "192.0.2.0/24", "::/0", "fd00::/8"];

fn any_ports() -> impl Strategy<Value = Vec<PortMatch>> {
    let one = (one_of(&PROTOCOLS[..]), 1_u16..6, 0_u16..3);
    let port = one.prop_map(|(protocol, first, more)| PortMatch { protocol, ports: range(first, first + more) });
    prop::collection::vec(port, 0..3)
}

fn any_networks() -> impl Strategy<Value = Vec<IpNetwork>> {
    subsequence(&NETWORKS[..], 0..3).prop_map(|list| networks(&list))
}

fn any_egress() -> impl Strategy<Value = Egress> {
    let route = one_of(&["a", "b", "c", "missing"][..]);
    let source =
        prop_oneof![4 => Just(Source::Device), 2 => Just(Source::Pod), 1 => Just(Source::Service("s0".into()))];
    (route, any_ports(), any_ports(), any_networks(), any_networks(), source).prop_map(
        |(route, ports, destination_ports, destinations, except_destinations, source)| Egress {
            ports,
            destination_ports,
            destinations,
            except_destinations,
            source,
            ..by(route)
        },
    )
}

fn any_route(name: &'static str) -> impl Strategy<Value = Object> {
    (any_networks(), any_networks(), any::<bool>()).prop_map(move |(destinations, except_destinations, all)| {
        let telco = AllowedNamespaces::Selector(selector(&[("network", "telco")]));
        let allowed_namespaces = if all { AllowedNamespaces::All } else { telco };
        Object::Route(ServiceOutboundRoute { destinations, except_destinations, allowed_namespaces, ..route(name) })
    })
}

fn any_created() -> impl Strategy<Value = String> {
    one_of(&["", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"][..]).prop_map(str::to_owned)
}

fn any_policies() -> impl Strategy<Value = Vec<Object>> {
    let one = (any_egress(), any_created(), one_of(&["sip", "web"][..]));
    prop::collection::vec(one, 0..5).prop_map(|list| {
        let policy = |(i, (egress, created, app)): (usize, (Egress, String, &str))| {
            let mut policy = policy(&format!("p{i}"), egress);
            policy.meta.created = created;
            policy.pod_selector = selector(&[("app", app)]);
            Object::Policy(policy)
        };
        list.into_iter().enumerate().map(policy).collect()
    })
}

fn any_services() -> impl Strategy<Value = Vec<Object>> {
    prop::collection::vec(one_of(&["a", "b", "missing"][..]), 0..3).prop_map(|routes| {
        let service = |(i, route)| annotated_service(&format!("s{i}"), &[("sortie.dev/route", route)]);
        routes.into_iter().enumerate().map(service).map(Object::Service).collect()
    })
}

/// Objects without two of one identity, in any order.
fn any_objects() -> impl Strategy<Value = Vec<Object>> {
    let wishes = || prop::collection::vec(any_egress(), 0..3);
    let objects = (any_route("a"), any_route("b"), any_route("c"), any_policies(), any_services(), wishes(), wishes());
    objects
        .prop_map(|(a, b, c, policies, services, by_pod, by_namespace)| {
            let few = [a, b, c, Object::Pod(pod(by_pod)), Object::Namespace(namespace(by_namespace))];
            few.into_iter().chain(policies).chain(services).collect::<Vec<_>>()
        })
        .prop_shuffle()
}

fn unrelated() -> impl Strategy<Value = Object> {
    let elsewhere = any_egress().prop_map(|e| EgressPolicy { name: name("other", "p"), ..policy("p", e) });
    let unmatched = any_egress()
        .prop_map(|e| EgressPolicy { pod_selector: selector(&[("app", "none")]), ..policy("unrelated", e) });
    let pod_beside = any_egress().prop_map(|e| Pod { name: name("core", "sip-2"), ..pod(vec![e]) });
    let default_elsewhere = any_egress().prop_map(|e| Namespace { name: "other".to_owned(), ..namespace(vec![e]) });
    prop_oneof![
        elsewhere.prop_map(Object::Policy),
        unmatched.prop_map(Object::Policy),
        pod_beside.prop_map(Object::Pod),
        default_elsewhere.prop_map(Object::Namespace),
        any_route("unrelated"),
        Just(Object::Node(node("10.244.0.0/24"))),
        Just(Object::Service(Service {
            selector: Labels::new(),
            ..annotated_service("u", &[("sortie.dev/route", "a")])
        })),
    ]
}

fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let flow = (1_u16..3, one_of(&["a", "b"][..]), 0_usize..4, 0_usize..2);
    let candidate = flow.prop_map(|(port, route, wish, entry)| {
        let matcher =
            FlowMatch { protocol: Some(Protocol::Udp), source_ports: Some(range(port, port)), ..FlowMatch::default() };
        Candidate { flow: Flow { matcher, path: path(route) }, wish, entry }
    });
    prop::collection::vec(candidate, 0..12)
}

/// First packet of a flow: protocol, the pod's port, the far end's port and address.
type Packet = (Protocol, u16, u16, IpAddr);

fn any_packet() -> impl Strategy<Value = Packet> {
    let far = one_of(&["10.1.1.1", "10.1.2.1", "10.2.0.1", "192.0.2.1", "198.51.100.1", "fd00::1", "2001:db8::1"][..]);
    (one_of(&PROTOCOLS[..]), 1_u16..9, 1_u16..9, far.prop_map(|a| a.parse().unwrap()))
}

fn is_in(networks: &[IpNetwork], address: IpAddr) -> bool {
    networks.iter().any(|n| n.contains(address))
}

fn is_asked(egress: &Egress, (protocol, from, to, far): Packet) -> bool {
    let one = |m: &PortMatch, port| m.protocol == protocol && m.ports.first <= port && port <= m.ports.last;
    let any = |list: &[PortMatch], port| list.is_empty() || list.iter().any(|m| one(m, port));
    let reached = egress.destinations.is_empty() || is_in(&egress.destinations, far);
    any(&egress.ports, from)
        && any(&egress.destination_ports, to)
        && reached
        && !is_in(&egress.except_destinations, far)
}

fn is_served(route: &ServiceOutboundRoute, (.., far): Packet) -> bool {
    let reached = route.destinations.is_empty() || is_in(&route.destinations, far);
    reached && !is_in(&route.except_destinations, far)
}

fn matches(matcher: &FlowMatch, (protocol, from, to, far): Packet) -> bool {
    let within = |ports: Option<PortRange>, port| ports.is_none_or(|p| p.first <= port && port <= p.last);
    matcher.protocol.is_none_or(|p| p == protocol)
        && within(matcher.source_ports, from)
        && within(matcher.destination_ports, to)
        && matcher.destination.is_none_or(|n| n.contains(far))
        && !is_in(&matcher.except, far)
}

proptest! {
    #[test]
    fn the_order_of_objects_is_irrelevant((objects, shuffled) in any_objects().prop_flat_map(|o| (Just(o.clone()), Just(o).prop_shuffle()))) {
        let (one, other) = (World::of(objects), World::of(shuffled));
        prop_assert_eq!(select(&one, &attachment()), select(&other, &attachment()));
        prop_assert_eq!(super::super::conditions(&one, &[&attachment()]), super::super::conditions(&other, &[&attachment()]));
        prop_assert_eq!(interest(&one), interest(&other));
    }

    #[test]
    fn the_order_of_attachments_is_irrelevant_to_conditions(objects in any_objects()) {
        let world = World::of(objects);
        let (one, other) = (attachment(), Attachment { pod: None, ..attachment() });
        prop_assert_eq!(super::super::conditions(&world, &[&one, &other]), super::super::conditions(&world, &[&other, &one]));
    }

    #[test]
    fn flows_are_sorted_by_precedence_and_no_matcher_comes_twice(objects in any_objects()) {
        let flows = select_admitted(&World::of(objects), &attachment()).flows;
        prop_assert!(flows.is_sorted_by_key(|flow| rank::specificity(&flow.matcher)));
        let matchers: BTreeSet<_> = flows.iter().map(|flow| &flow.matcher).collect();
        prop_assert_eq!(matchers.len(), flows.len());
    }

    #[test]
    fn an_unrelated_object_never_changes_the_assignment(objects in any_objects(), stranger in unrelated()) {
        let before = World::of(objects.clone());
        let after = World::of(objects.into_iter().chain([stranger]));
        prop_assert_eq!(select(&before, &attachment()), select(&after, &attachment()));
        prop_assert_eq!(select_admitted(&before, &attachment()), select_admitted(&after, &attachment()));
    }

    #[test]
    fn an_admitted_pod_gets_what_it_was_admitted_with(objects in any_objects()) {
        let world = World::of(objects);
        if let Ok(assignment) = select(&world, &attachment()) {
            prop_assert_eq!(assignment, select_admitted(&world, &attachment()));
        }
    }

    #[test]
    fn every_matcher_has_exactly_one_winner_and_every_loser_is_counted(candidates in any_candidates()) {
        let asked: BTreeSet<_> = candidates.iter().map(|c| c.flow.matcher.clone()).collect();
        let (flows, tallies) = conflict::resolve(candidates.clone(), 4);
        let won: Vec<_> = flows.iter().map(|f| f.matcher.clone()).collect();
        prop_assert_eq!(won.len(), asked.len());
        prop_assert_eq!(won.into_iter().collect::<BTreeSet<_>>(), asked);
        for flow in &flows {
            let best = candidates.iter().filter(|c| c.flow.matcher == flow.matcher).min_by(|a, b| rank::precedence(a, b));
            prop_assert_eq!(best.map(|c| &c.flow.path), Some(&flow.path));
        }
        let counted: usize = tallies.iter().map(|t| t.kept + t.lost.values().sum::<usize>()).sum();
        prop_assert_eq!(counted, candidates.len());
    }

    #[test]
    fn the_account_of_a_packet_names_the_flow_in_force(objects in any_objects(), packet in any_packet()) {
        let world = World::of(objects);
        let (protocol, from, to, far) = packet;
        let asked = crate::selection::Packet { protocol: protocol.number(), own_port: Some(from), far, far_port: Some(to) };
        let account = account(&world, &attachment(), &asked);
        let flows = select_admitted(&world, &attachment()).flows;
        let in_force = flows.iter().find(|flow| matches(&flow.matcher, packet));
        prop_assert_eq!(account.winner.as_ref().map(|claim| &claim.flow), in_force);
        for loser in account.losers.iter().filter_map(|loser| Some((loser.flow.as_ref()?, loser.matches))) {
            prop_assert_eq!(matches(&loser.0.matcher, packet), loser.1);
        }
    }

    #[test]
    fn matchers_select_what_is_asked_for_and_served_and_nothing_else(egress in any_egress(), object in any_route("a"), packet in any_packet()) {
        let Object::Route(route) = object else { return Err(TestCaseError::fail("not a route")) };
        let selected = expand::expand(&egress, Some(&route)).is_ok_and(|all| all.iter().any(|m| matches(m, packet)));
        prop_assert_eq!(selected, is_asked(&egress, packet) && is_served(&route, packet));
    }
}
