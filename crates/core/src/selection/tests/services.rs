//! Services as source and as authors: without an address nothing of theirs may leak.

use super::*;
use crate::selection::service;
use crate::selection::wish::Subject;

fn with_source(service: &str) -> Egress {
    Egress { source: Source::Service(service.to_owned()), ..by("a") }
}

fn plain(object: &str) -> Service {
    annotated_service(object, &[])
}

#[test]
fn a_policy_with_a_service_as_source_is_closed_with_no_address() {
    let world = world([
        Object::Pod(pod(vec![])),
        Object::Service(plain("sip")),
        Object::Policy(policy("p", with_source("sip"))),
    ]);
    assert_eq!(flows(&world)[0].path, PathKey::Closed);
    let condition = accepted(&world, &key(Kind::EgressPolicy, "core", "p"));
    assert_eq!((condition.holds, condition.reason), (false, Reason::NoAddress));
    assert!(condition.message.contains("loadBalancerClass sortie.dev/vip"), "{}", condition.message);
}

fn with_address(service: Service) -> Service {
    let addresses = vec!["192.0.2.100".parse().unwrap()];
    Service { load_balancer: true, class: Service::CLASS.into(), addresses, ..service }
}

#[test]
fn a_service_with_an_address_opens_a_path_with_it() {
    let service = with_address(annotated_service("sip", &[("sortie.dev/route", "a")]));
    let by_policy = world([
        Object::Pod(pod(vec![])),
        Object::Service(with_address(plain("sip"))),
        Object::Policy(policy("p", with_source("sip"))),
    ]);
    let by_itself = world([Object::Pod(pod(vec![])), Object::Service(service.clone())]);
    let path = PathKey::Address { service: service.name.clone(), route: Some("a".into()) };
    for world in [by_policy, by_itself] {
        assert_eq!(flows(&world)[0].path, path);
        assert_eq!(address_paths(&world), [path.clone()].into());
    }
    assert_eq!(answers(&service), Some(path));
}

#[test]
fn a_service_without_a_route_lends_its_address_on_the_main_table() {
    let service = with_address(annotated_service("sip", &[("sortie.dev/egress", "true")]));
    let world = world([Object::Pod(pod(vec![])), Object::Service(service.clone())]);
    assert_eq!(flows(&world)[0].path, PathKey::Address { service: service.name.clone(), route: None });
    assert_eq!(answers(&service), None);
}

#[test]
fn an_annotation_with_a_service_as_source_is_closed_and_does_not_fail() {
    let world = world([Object::Pod(pod(vec![with_source("sip")])), Object::Service(plain("sip"))]);
    assert_eq!(flows(&world)[0].path, PathKey::Closed);
    assert_eq!(accepted(&world, &key(Kind::Pod, "core", "sip-1")).reason, Reason::NoAddress);
}

#[test]
fn a_missing_service_closes_a_policys_flows_and_fails_the_pods_own_wish() {
    let by_policy = world([Object::Policy(policy("p", with_source("sip")))]);
    assert_eq!(flows(&by_policy)[0].path, PathKey::Closed);
    assert_eq!(accepted(&by_policy, &key(Kind::EgressPolicy, "core", "p")).reason, Reason::ServiceNotFound);

    let by_pod = world([Object::Pod(pod(vec![with_source("sip")]))]);
    assert_eq!(select(&by_pod, &attachment()).unwrap_err().reason, Reason::ServiceNotFound);
}

#[test]
fn a_service_that_does_not_select_the_pod_lends_it_nothing() {
    let foreign = Service { selector: labels(&[("app", "web")]), ..plain("web") };
    let by_policy = world([
        Object::Pod(pod(vec![])),
        Object::Service(foreign.clone()),
        Object::Policy(policy("p", with_source("web"))),
    ]);
    assert_eq!(flows(&by_policy), []);
    assert_eq!(accepted(&by_policy, &key(Kind::EgressPolicy, "core", "p")).reason, Reason::ServiceDoesNotSelectPod);

    let by_pod = world([Object::Pod(pod(vec![with_source("web")])), Object::Service(foreign)]);
    assert_eq!(select(&by_pod, &attachment()).unwrap_err().reason, Reason::ServiceDoesNotSelectPod);
}

#[test]
fn a_service_route_closes_the_target_ports_of_its_pods() {
    let mut service = annotated_service("sip", &[("sortie.dev/route", "a")]);
    let named =
        |name: &str| ServicePort { protocol: Protocol::Tcp, port: 80, target: TargetPort::Name(name.to_owned()) };
    service.ports.extend([named("web"), named("absent"), named("dns")]);
    let port = |name: &str, protocol, n| (name.to_owned(), ports(&[(protocol, n, n)])[0]);
    let named_ports = [port("web", Protocol::Tcp, 8080), port("dns", Protocol::Udp, 53)].into();
    let world = world([Object::Pod(Pod { named_ports, ..pod(vec![]) }), Object::Service(service)]);
    let found = flows(&world);
    assert!(found.iter().all(|f| f.path == PathKey::Closed));
    let closed: Vec<_> = found.iter().map(|f| (f.matcher.protocol, f.matcher.source_ports)).collect();
    assert_eq!(
        closed,
        [(Some(Protocol::Tcp), Some(range(8080, 8080))), (Some(Protocol::Udp), Some(range(5060, 5060)))]
    );
    assert_eq!(accepted(&world, &key(Kind::Service, "core", "sip")).reason, Reason::NoAddress);
}

#[test]
fn a_service_without_selector_selects_nothing() {
    let service = Service { selector: Labels::new(), ..annotated_service("sip", &[("sortie.dev/route", "a")]) };
    assert_eq!(flows(&world([Object::Pod(pod(vec![])), Object::Service(service)])), []);
}

#[test]
fn a_service_route_without_any_known_target_port_selects_nothing() {
    let mut service = annotated_service("sip", &[("sortie.dev/route", "a")]);
    service.ports[0].target = TargetPort::Name("absent".to_owned());
    assert_eq!(flows(&world([Object::Pod(pod(vec![])), Object::Service(service)])), []);
}

#[test]
fn malformed_service_annotations_select_nothing_and_are_reported() {
    let service = annotated_service("sip", &[("sortie.dev/egress", "yes")]);
    let world = world([Object::Pod(pod(vec![])), Object::Service(service)]);
    assert_eq!(flows(&world), []);
    let condition = accepted(&world, &key(Kind::Service, "core", "sip"));
    assert_eq!((condition.holds, condition.reason), (false, Reason::Invalid));
    assert!(condition.message.contains("sortie.dev/egress"), "{}", condition.message);
}

#[test]
fn egress_annotations_of_a_service_mean_what_they_mean_on_a_pod() {
    let service = annotated_service(
        "sip",
        &[
            ("sortie.dev/egress", "true"),
            ("sortie.dev/egress-source-ports", "target, tcp:8000-8010"),
            ("sortie.dev/egress-destination-ports", "tcp:443"),
            ("sortie.dev/egress-destinations", "10.0.0.0/8"),
            ("sortie.dev/egress-except-destinations", "10.1.0.0/16"),
        ],
    );
    let pod = pod(vec![]);
    let expected = labels(&[
        ("sortie.dev/source", "service/sip"),
        ("sortie.dev/ports", "udp:5060-5060,tcp:8000-8010"),
        ("sortie.dev/destination-ports", "tcp:443"),
        ("sortie.dev/destinations", "10.0.0.0/8"),
        ("sortie.dev/except-destinations", "10.1.0.0/16"),
    ]);
    assert_eq!(service::as_pod_annotations(&service, &Subject::pod(&pod)), Some(expected));
}

#[test]
fn egress_narrowed_to_target_ports_the_pod_lacks_selects_nothing() {
    let mut service =
        annotated_service("sip", &[("sortie.dev/egress", "true"), ("sortie.dev/egress-source-ports", "target")]);
    service.ports[0].target = TargetPort::Name("absent".to_owned());
    let world = world([Object::Pod(pod(vec![])), Object::Service(service)]);
    assert_eq!(flows(&world), []);
}

#[test]
fn egress_families_leave_the_other_family_alone() {
    let restricted = |families: &str, destinations: &[&str]| {
        let service = annotated_service("sip", &[("sortie.dev/egress-families", families)]);
        let entry = Egress { destinations: networks(destinations), ..by("a") };
        service::in_families(&service, vec![entry])
            .map(|all| all.into_iter().map(|e| e.destinations).collect::<Vec<_>>())
    };
    assert_eq!(restricted("ipv4", &[]), Ok(vec![networks(&["0.0.0.0/0"])]));
    assert_eq!(restricted("ipv4, ipv6", &[]), Ok(vec![networks(&[])]));
    assert_eq!(restricted("ipv6", &["10.0.0.0/8", "fd00::/8"]), Ok(vec![networks(&["fd00::/8"])]));
    assert_eq!(restricted("ipv6", &["10.0.0.0/8"]), Ok(vec![]));
    assert_eq!(restricted("ipx", &[]).unwrap_err().field, "sortie.dev/egress-families");
}
