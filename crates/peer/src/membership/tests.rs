use std::time::Duration;

use super::*;
use crate::editions::NEWS_LEN;

fn address(node: u16) -> IpAddr {
    IpAddr::from([192, 0, 2, u8::try_from(node).unwrap()])
}

fn member(node: u16, now: Instant) -> Membership {
    let key = Key::new(&[1; 32]).unwrap();
    let setup = Setup { node, incarnation: 5, key, seed: 1, tuning: Tuning::default() };
    let mut member = Membership::new(setup, now);
    member.set_peers(now, (1..=3).map(|node| (node, address(node))).collect());
    member
}

fn datagrams(member: &mut Membership) -> Vec<Datagram> {
    std::iter::from_fn(|| member.poll_datagram()).collect()
}

fn events(member: &mut Membership) -> Vec<MemberEvent> {
    std::iter::from_fn(|| member.poll_event()).collect()
}

/// A message of node 2 to node 1.
fn message(kind: Kind, counter: u64, body: &[u8]) -> Vec<u8> {
    let header = Header { kind, sender: 2, receiver: 1, incarnation: 9, counter };
    seal::seal(&Key::new(&[1; 32]).unwrap(), &header, body)
}

#[test]
fn a_node_asks_its_peers_to_join_and_answers_bring_them_up() {
    let now = Instant::now();
    let (mut one, mut two) = (member(1, now), member(2, now));
    for datagram in datagrams(&mut one).into_iter().filter(|datagram| datagram.to == address(2)) {
        two.handle_datagram(now, address(1), &datagram.bytes);
    }
    for datagram in datagrams(&mut two).into_iter().filter(|datagram| datagram.to == address(1)) {
        one.handle_datagram(now, address(2), &datagram.bytes);
    }
    assert!(events(&mut one).contains(&MemberEvent::Up(2)));
    assert!(events(&mut two).contains(&MemberEvent::Up(1)));
}

#[test]
fn a_heartbeat_is_heard_but_makes_nobody_a_member() {
    let now = Instant::now();
    let mut one = member(1, now);
    let news = News { node: 2, edition: Edition { incarnation: 9, version: 0 } };
    one.handle_datagram(now, address(2), &message(Kind::Editions, 1, &news.encode()));
    let table = MemberEvent::TableVersion(2, news.edition);
    assert_eq!(events(&mut one), [MemberEvent::Heard(2, now), table]);
    assert_eq!(one.heard(2), Some(now));
    assert!(one.up().is_empty());
}

#[test]
fn bodies_that_are_not_of_their_kind_are_counted() {
    let now = Instant::now();
    let mut one = member(1, now);
    let kinds = [(Kind::Swim, 3), (Kind::Swim, 12), (Kind::Editions, NEWS_LEN - 1), (Kind::Answer, 0)];
    for ((kind, length), counter) in kinds.into_iter().zip(1..) {
        one.handle_datagram(now, address(2), &message(kind, counter, &vec![0; length]));
    }
    assert_eq!(one.refusals(), &Refusals::from([(Refusal::Malformed, 4)]));
}

#[test]
fn a_peer_cannot_speak_as_another_member() {
    let now = Instant::now();
    let mut three = member(3, now);
    let swim = datagrams(&mut three).into_iter().find(|datagram| datagram.to == address(1)).unwrap();
    let (_, body) = seal::unseal(&Key::new(&[1; 32]).unwrap(), &swim.bytes).unwrap();
    let mut one = member(1, now);
    one.handle_datagram(now, address(2), &message(Kind::Swim, 1, body));
    assert_eq!(one.refusals(), &Refusals::from([(Refusal::Malformed, 1)]));
    assert!(one.up().is_empty());
}

#[test]
fn close_peers_get_one_heartbeat_a_period() {
    let now = Instant::now();
    let mut one = member(1, now);
    one.set_close_peers(BTreeSet::from([2]));
    datagrams(&mut one);
    let sent = (0..750).filter(|millisecond| {
        one.handle_timer(now + Duration::from_millis(*millisecond));
        datagrams(&mut one).iter().any(|datagram| datagram.bytes[1] == 2)
    });
    assert_eq!(sent.count(), 10);
}

#[test]
fn a_node_that_left_is_silent() {
    let now = Instant::now();
    let mut one = member(1, now);
    one.leave(now);
    let farewells = datagrams(&mut one);
    assert!(farewells.len() >= 2);
    one.handle_datagram(now, address(2), &message(Kind::Leave, 1, &[]));
    one.handle_timer(now + Duration::from_secs(1));
    assert_eq!(datagrams(&mut one), []);
    assert_eq!(one.next_deadline(), None);
}
