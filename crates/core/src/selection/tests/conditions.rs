//! What objects are told.

use super::*;

#[test]
fn every_object_that_asks_has_one_accepted_condition_in_order() {
    let world = world([
        Object::Pod(pod(vec![by("a")])),
        Object::Policy(policy("p", Egress { ports: ports(&[(Protocol::Tcp, 1, 1)]), ..by("a") })),
        Object::Namespace(namespace(vec![by("a")])),
        Object::Service(annotated_service("quiet", &[])),
    ]);
    let found = super::super::conditions(&world, &[&attachment()]);
    assert!(found.iter().all(|c| c.kind == "Accepted" && c.holds && c.reason == Reason::Accepted), "{found:?}");
    let objects: Vec<_> = found.iter().map(|c| c.object.to_string()).collect();
    let expected = [
        "Namespace core",
        "Pod core/sip-1",
        "ServiceOutboundRoute a",
        "ServiceOutboundRoute b",
        "ServiceOutboundRoute c",
        "EgressPolicy core/p",
    ];
    assert_eq!(objects, expected);
}

#[test]
fn the_loser_of_everything_is_not_accepted_and_learns_the_winner() {
    let world = world([Object::Policy(policy("p", by("a"))), Object::Policy(policy("q", by("b")))]);
    let loser = accepted(&world, &key(Kind::EgressPolicy, "core", "q"));
    assert_eq!((loser.holds, loser.reason), (false, Reason::Conflicted));
    assert!(loser.message.contains("1 of 1 flows lost: 1 to EgressPolicy core/p"), "{}", loser.message);
    assert!(accepted(&world, &key(Kind::EgressPolicy, "core", "p")).holds);
}

#[test]
fn the_loser_of_a_part_stays_accepted_and_is_conflicted() {
    let both = Egress { ports: ports(&[(Protocol::Udp, 1, 1), (Protocol::Udp, 2, 2)]), ..by("b") };
    let one = Egress { ports: ports(&[(Protocol::Udp, 1, 1)]), ..by("a") };
    let world = world([Object::Policy(policy("p", one)), Object::Policy(policy("q", both))]);
    let q = key(Kind::EgressPolicy, "core", "q");
    assert!(accepted(&world, &q).holds);
    let found = super::super::conditions(&world, &[&attachment()]);
    let conflicts: Vec<_> = found.iter().filter(|c| c.kind == "Conflicted").collect();
    assert_eq!(conflicts.len(), 1);
    assert_eq!((&conflicts[0].object, conflicts[0].holds), (&q, true));
    assert!(conflicts[0].message.starts_with("1 of 2 flows lost"), "{}", conflicts[0].message);
}

#[test]
fn two_objects_that_agree_are_not_in_conflict() {
    let world = world([Object::Policy(policy("p", by("a"))), Object::Policy(policy("q", by("a")))]);
    assert_eq!(flows(&world).len(), 1);
    assert!(super::super::conditions(&world, &[&attachment()]).iter().all(|c| c.kind == "Accepted" && c.holds));
}

#[test]
fn interest_names_namespaces_that_others_select_but_not_the_pods_own_wish() {
    let service = |namespace: &str, annotations: &[(&str, &str)]| {
        Object::Service(Service { name: name(namespace, "s"), ..annotated_service("s", annotations) })
    };
    let world = world([
        Object::Pod(pod(vec![by("a")])),
        Object::Policy(EgressPolicy { name: name("by-policy", "p"), ..policy("p", by("a")) }),
        Object::Namespace(Namespace { name: "by-itself".to_owned(), egress: vec![by("a")], ..Namespace::default() }),
        Object::Namespace(Namespace { name: "silent".to_owned(), ..Namespace::default() }),
        service("by-service", &[("sortie.dev/egress", "true")]),
        service("addresses-only", &[("sortie.dev/addresses", "192.0.2.1")]),
        service("off", &[("sortie.dev/egress", "false")]),
    ]);
    let found: Vec<_> = interest(&world).namespaces.into_iter().collect();
    assert_eq!(found, ["by-itself", "by-policy", "by-service"]);
}
