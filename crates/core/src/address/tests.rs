use super::*;
use crate::model::{AllowedNamespaces, LabelSelector, Meta};

fn pool(name: &str, (first, last): (&str, &str), allowed: AllowedNamespaces) -> AddressPool {
    AddressPool {
        name: name.into(),
        meta: Meta::default(),
        addresses: vec![(first.parse().unwrap(), last.parse().unwrap())],
        devices: Vec::new(),
        allowed_namespaces: allowed,
        node_selector: None,
    }
}

fn name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectName { namespace: namespace.into(), name: name.into() }
}

fn service(text: &str, requested: &[&str]) -> Service {
    Service {
        name: name(text),
        load_balancer: true,
        class: Service::CLASS.into(),
        requested: requested.iter().map(|a| a.parse().unwrap()).collect(),
        ..Service::default()
    }
}

fn world(pools: Vec<AddressPool>, services: Vec<Service>) -> World {
    World {
        pools: pools.into_iter().map(|p| (p.name.clone(), p)).collect(),
        services: services.into_iter().map(|s| (s.name.clone(), s)).collect(),
        ..World::default()
    }
}

fn telco() -> AddressPool {
    pool("telco", ("192.0.2.100", "192.0.2.101"), AllowedNamespaces::All)
}

fn six() -> AddressPool {
    pool("six", ("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"), AllowedNamespaces::All)
}

fn shown(given: &Given) -> Vec<String> {
    given.iter().map(|(service, a)| format!("{service} {a:?}").replace(['[', ']'], "")).collect()
}

#[test]
fn services_of_our_class_get_the_next_free_address_of_every_family() {
    let (given, refused) =
        give(&Given::new(), &world(vec![telco(), six()], vec![service("a/x", &[]), service("a/y", &[])]));
    assert_eq!(shown(&given), ["a/x 192.0.2.100, 2001:db8::", "a/y 192.0.2.101, 2001:db8::1"]);
    assert_eq!(refused, []);
}

/// Where the status of Services is what everybody goes by.
#[test]
fn what_is_held_by_status_is_held_while_a_pool_allows_it_and_nobody_gets_more() {
    let with = |name: &str, address: &str| Service { addresses: vec![address.parse().unwrap()], ..service(name, &[]) };
    let services = vec![with("a/x", "192.0.2.101"), with("a/y", "198.51.100.1"), service("a/z", &[])];
    assert_eq!(shown(&held(&world(vec![telco(), six()], services))), ["a/x 192.0.2.101"]);
    let twice = vec![with("a/x", "192.0.2.100"), with("a/y", "192.0.2.100")];
    assert_eq!(shown(&held(&world(vec![telco()], twice))), ["a/x 192.0.2.100"], "the first in line");
}

#[test]
fn an_exhausted_pool_says_so_and_takes_from_nobody() {
    let services = ["a/x", "a/y", "a/z"].map(|n| service(n, &[])).to_vec();
    let (given, refused) = give(&Given::new(), &world(vec![telco()], services.clone()));
    assert_eq!(shown(&given), ["a/x 192.0.2.100", "a/y 192.0.2.101"]);
    assert_eq!((refused[0].1.object.as_str(), refused[0].1.reason), ("Service a/z", Reason::NoAddress));
    let younger = Service { meta: Meta { created: "2026-01-01".into(), ..Meta::default() }, ..services[0].clone() };
    let (again, _) = give(&given, &world(vec![telco()], vec![younger, services[1].clone(), services[2].clone()]));
    assert_eq!(again, given, "holders stay, whoever is older");
}

#[test]
fn an_address_given_back_goes_to_the_next_in_line() {
    let old = Given::from([(name("a/gone"), vec!["192.0.2.100".parse().unwrap()])]);
    let (given, _) = give(&old, &world(vec![telco()], vec![service("a/new", &[])]));
    assert_eq!(shown(&given), ["a/new 192.0.2.100"]);
}

#[test]
fn a_request_outside_the_pools_of_the_namespace_is_refused() {
    let selector =
        LabelSelector { match_labels: [("network".into(), "telco".into())].into(), ..LabelSelector::default() };
    let private = pool("private", ("198.51.100.1", "198.51.100.9"), AllowedNamespaces::Selector(selector));
    let services = vec![service("a/stray", &["203.0.113.1"]), service("a/thief", &["198.51.100.5"])];
    let (given, refused) = give(&Given::new(), &world(vec![telco(), private], services));
    assert_eq!(shown(&given), [""; 0]);
    assert!(refused.iter().all(|(_, r)| r.reason == Reason::AddressNotAllowed));
    assert!(refused[0].1.message.contains("203.0.113.1 is in no AddressPool"), "{}", refused[0].1);
    assert!(refused[1].1.message.contains("AddressPool private does not allow Namespace a"), "{}", refused[1].1);
}

#[test]
fn an_address_that_is_held_stays_with_its_holder() {
    let holder = service("b/holder", &["192.0.2.100"]);
    let (given, _) = give(&Given::new(), &world(vec![telco()], vec![holder.clone()]));
    let (given, refused) = give(&given, &world(vec![telco()], vec![service("a/late", &["192.0.2.100"]), holder]));
    assert_eq!(shown(&given), ["b/holder 192.0.2.100"]);
    assert!(refused[0].1.message.contains("held by Service b/holder"), "{}", refused[0].1);
}

#[test]
fn a_withdrawn_pool_takes_its_addresses_along() {
    let (given, _) = give(&Given::new(), &world(vec![telco()], vec![service("a/x", &[])]));
    let (given, refused) = give(&given, &world(Vec::new(), vec![service("a/x", &[])]));
    assert_eq!((given, refused.len()), (Given::new(), 1));
}

#[test]
fn a_service_has_the_families_it_names() {
    let four = Service { families: vec![Family::V4], ..service("a/x", &[]) };
    let (given, _) = give(&Given::new(), &world(vec![telco(), six()], vec![four]));
    assert_eq!(shown(&given), ["a/x 192.0.2.100"]);
}

#[test]
fn services_of_others_are_none_of_our_business() {
    let other = Service { class: "metallb".into(), ..service("a/x", &["192.0.2.100"]) };
    assert_eq!(give(&Given::new(), &world(vec![telco()], vec![other])), (Given::new(), Vec::new()));
}
