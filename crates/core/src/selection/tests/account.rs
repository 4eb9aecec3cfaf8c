//! Who decides about a packet, in words.

use super::*;
use crate::selection::{Account, Packet};

fn udp(own_port: Option<u16>, far_port: Option<u16>) -> Packet {
    Packet { protocol: 17, own_port, far: "192.0.2.10".parse().unwrap(), far_port }
}

fn told(objects: Vec<Object>, packet: Packet) -> Account {
    let all = objects.into_iter().chain([Object::Pod(pod(Vec::new()))]);
    account(&world(all), &attachment(), &packet)
}

fn with_ports(route: &str, list: &[(Protocol, u16, u16)]) -> Egress {
    Egress { ports: ports(list), ..by(route) }
}

fn why(account: &Account, author: &str) -> String {
    account.losers.iter().find(|loser| loser.author == author).unwrap().why.clone()
}

#[test]
fn the_winner_is_named_and_every_loser_hears_why() {
    let sip = with_ports("a", &[(Protocol::Udp, 5060, 5060)]);
    let service = annotated_service("svc", &[("sortie.dev/route", "b")]);
    let mut elsewhere = policy("elsewhere", by("b"));
    elsewhere.pod_selector = selector(&[("app", "web")]);
    let objects = vec![
        Object::Policy(policy("sip", sip)),
        Object::Policy(policy("all", by("b"))),
        Object::Policy(policy("far", Egress { destinations: networks(&["198.51.100.0/24"]), ..by("c") })),
        Object::Policy(elsewhere),
        Object::Service(service),
        Object::Namespace(namespace(vec![by("c")])),
    ];
    let account = told(objects, udp(Some(5060), None));
    let winner = account.winner.as_ref().unwrap();
    assert_eq!(
        (winner.author.as_str(), winner.flow.matcher.to_string().as_str()),
        ("EgressPolicy core/sip", "udp source port 5060")
    );
    assert!(why(&account, "EgressPolicy core/all").contains("names fewer source ports"));
    assert!(why(&account, "Service core/svc").contains("an EgressPolicy goes before a Service"));
    assert_eq!(why(&account, "EgressPolicy core/far"), "the destination is outside its networks");
    assert!(why(&account, "EgressPolicy core/elsewhere").contains("podSelector does not match"));
    let by_rest = told(
        vec![Object::Policy(policy("all", by("b"))), Object::Namespace(namespace(vec![by("c")]))],
        udp(None, None),
    );
    assert!(why(&by_rest, "Namespace core").contains("goes before an annotation of the Namespace"));
}

#[test]
fn age_and_name_decide_among_equals() {
    let aged = |name: &str, created: &str| {
        let mut policy = policy(name, by("a"));
        policy.meta.created = created.to_owned();
        Object::Policy(policy)
    };
    let by_age = told(vec![aged("a", "2025-01-01T00:00:00Z"), aged("b", "2024-01-01T00:00:00Z")], udp(None, None));
    assert_eq!(why(&by_age, "EgressPolicy core/a"), "EgressPolicy core/b is older");
    let by_name = told(vec![aged("a", ""), aged("b", "")], udp(None, None));
    assert_eq!(why(&by_name, "EgressPolicy core/b"), "EgressPolicy core/a has the name that sorts first");
}

#[test]
fn a_port_that_is_not_said_is_one_that_nobody_names() {
    let most = with_ports("a", &[(Protocol::Udp, 1, 40_000), (Protocol::Udp, 40_001, 60_000)]);
    let account =
        told(vec![Object::Policy(policy("most", most)), Object::Policy(policy("rest", by("b")))], udp(None, None));
    assert_eq!(account.winner.unwrap().author, "EgressPolicy core/rest");
    assert_eq!(account.losers[0].why, "another source port");
    let all = with_ports("a", &[(Protocol::Udp, 1, u16::MAX)]);
    assert!(told(vec![Object::Policy(policy("all", all))], udp(None, None)).winner.is_some());
}

#[test]
fn icmp_follows_what_names_no_ports() {
    let objects = vec![
        Object::Policy(policy("sip", with_ports("a", &[(Protocol::Udp, 5060, 5060)]))),
        Object::Policy(policy("rest", by("b"))),
    ];
    let account = told(objects, Packet { protocol: 1, ..udp(None, None) });
    assert_eq!(account.winner.unwrap().author, "EgressPolicy core/rest");
    assert_eq!(account.losers[0].why, "another protocol");
}

#[test]
fn a_closed_flow_says_what_closed_it() {
    let account = told(vec![Object::Policy(policy("sip", by("missing")))], udp(None, None));
    let winner = account.winner.unwrap();
    assert_eq!((winner.flow.path, winner.problem.map(|p| p.reason)), (PathKey::Closed, Some(Reason::RouteNotFound)));
    let refused = told(vec![Object::Policy(policy("no", Egress { route: None, ..by("a") }))], udp(None, None));
    assert_eq!((refused.winner.is_none(), refused.problems.len()), (true, 1));
}
