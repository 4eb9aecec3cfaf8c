use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ownership::Millis;

const PATH: Mask = Mask(0x000f_ff00);
const NODE: Mask = Mask(0x3ff0_0000);
const NOW: Millis = Millis(1_000_000);

fn tuple(source: (&str, u16), destination: (&str, u16), protocol: u8) -> Tuple {
    Tuple {
        source: source.0.parse().unwrap(),
        destination: destination.0.parse().unwrap(),
        protocol,
        source_port: source.1,
        destination_port: destination.1,
    }
}

/// A pod's call to a server, with the address 10.10.0.200.
fn call(port: u16) -> Flow {
    Flow {
        original: tuple(("10.244.1.7", port), ("192.0.2.10", 7000), protocol::UDP),
        reply: tuple(("192.0.2.10", 7000), ("10.10.0.200", port), protocol::UDP),
        progress: Progress::Assured,
        timeout: 120,
        transport: Transport::Plain,
    }
}

fn sip(epoch: u64) -> PathName {
    let service = ObjectName { namespace: "default".to_owned(), name: "sip".to_owned() };
    PathName { service, route: Some("b".to_owned()), epoch }
}

fn mirror(epoch: u64, flows: impl IntoIterator<Item = Flow>) -> Mirror {
    let mut mirror = Mirror::new(PATH, NODE);
    let tracked = flows.into_iter().map(|flow| Tracked { flow, mark: 0x0020_0100 });
    mirror.reset(Paths::from([(0x100, sip(epoch))]), tracked);
    mirror
}

fn hear(replica: &mut Replica, owner: u16, messages: Vec<Message>, now: Millis) {
    for message in messages {
        let bytes = encode(&message).unwrap();
        replica.hear(owner, decode(&bytes).unwrap(), now);
    }
}

fn ports(inheritance: Option<Inheritance>) -> Vec<u16> {
    let connections = inheritance.map(|i| i.connections).unwrap_or_default();
    let mut ports: Vec<u16> = connections.iter().map(|(_, c)| c.flow.original.source_port).collect();
    ports.sort_unstable();
    ports
}

#[test]
fn a_connection_of_the_old_owners_pod_comes_from_the_old_owner() {
    let succession = Succession { from: 3, to: 5 };
    let marks = [0, 5, 7].map(|node| {
        let connection = Connection { flow: call(5060), path: 0, node };
        connection.rewritten(succession, (0x0000_4200, NODE)).mark
    });
    assert_eq!(marks, [0x0030_4200, 0x0000_4200, 0x0070_4200]);
}

#[test]
fn a_loaded_connection_lives_at_least_half_a_minute() {
    let connection = |timeout| Connection { flow: Flow { timeout, ..call(5060) }, path: 0, node: 0 };
    let succession = Succession { from: 3, to: 5 };
    let timeouts = [1, 120].map(|timeout| connection(timeout).rewritten(succession, (0, NODE)).flow.timeout);
    assert_eq!(timeouts, [30, 120]);
}

#[test]
fn an_inherited_connection_takes_the_place_of_what_was_sent_for_it_without_its_address() {
    let inherited = Tracked { flow: call(5060), mark: 0x0000_0100 };
    let (asks, address) = (("10.244.1.7", 5060), ("10.10.0.200", 5060));
    let far = ("192.0.2.10", 7000);
    let present = |original, reply, mark| ConntrackEntry { original, reply, mark };
    let udp = |source, destination| tuple(source, destination, protocol::UDP);
    let by_the_tunnel = |mark| present(udp(asks, far), udp(far, asks), mark);
    assert!(inherited.displaces(&by_the_tunnel(0x4000_0100), PATH));
    assert!(!inherited.displaces(&by_the_tunnel(0x0000_0200), PATH), "the pod has another path now");
    assert!(!inherited.displaces(&by_the_tunnel(0), PATH), "the pod has none now");
    assert!(!inherited.displaces(&present(udp(asks, far), udp(far, address), 0x100), PATH), "it is there");
    assert!(inherited.displaces(&present(udp(far, address), udp(address, far), 0), PATH), "sent here before");
}

#[test]
fn both_translations_follow_from_the_tuples() {
    let inbound = Flow {
        original: tuple(("203.0.113.9", 4000), ("10.10.0.200", 5060), protocol::UDP),
        reply: tuple(("10.244.1.7", 15060), ("10.10.0.1", 4711), protocol::UDP),
        ..call(0)
    };
    assert_eq!(inbound.plain_reply(), tuple(("10.10.0.200", 5060), ("203.0.113.9", 4000), protocol::UDP));
    assert_eq!(inbound.seen_source(), ("10.10.0.1".parse().unwrap(), 4711));
    assert_eq!(inbound.real_destination(), ("10.244.1.7".parse().unwrap(), Some(15060)));
}

#[test]
fn only_datagrams_of_clients_to_the_owners_own_pods_are_better_begun_anew() {
    let inbound = |protocol| Flow {
        original: tuple(("203.0.113.9", 4000), ("10.10.0.200", 5060), protocol),
        reply: tuple(("10.244.1.7", 15060), ("203.0.113.9", 4000), protocol),
        ..call(0)
    };
    let anew = |flow, node| Connection { flow, path: 0, node }.is_better_begun_anew();
    assert!(anew(inbound(protocol::UDP), 0));
    assert!(!anew(inbound(protocol::UDP), 5), "the pod's node is another one");
    assert!(!anew(inbound(protocol::TCP), 0) && !anew(inbound(protocol::SCTP), 0));
    assert!(!anew(call(5060), 0), "the pod's own call");
}

#[test]
fn an_echo_is_translated_by_its_identifier() {
    let echo = Flow {
        original: tuple(("10.244.1.7", 77), ("192.0.2.10", 0x0800), protocol::ICMP),
        reply: tuple(("192.0.2.10", 78), ("10.10.0.200", 0), protocol::ICMP),
        ..call(0)
    };
    assert!(echo.is_sound());
    assert_eq!(echo.plain_reply(), tuple(("192.0.2.10", 77), ("10.244.1.7", 0), protocol::ICMP));
    assert_eq!(echo.seen_source(), ("10.10.0.200".parse().unwrap(), 78));
    assert_eq!(echo.real_destination(), ("192.0.2.10".parse().unwrap(), None));
}

#[test]
fn what_cannot_be_is_refused() {
    let put = |flow| encode(&Message::Changes(vec![Change::Put(Connection { flow, path: 0, node: 0 })])).unwrap();
    assert!(decode(&put(call(1))).is_ok());
    let mixed = Tuple { source: "2001:db8::1".parse().unwrap(), ..call(1).original };
    let strange = [
        Flow { original: mixed, ..call(1) },
        Flow { transport: Transport::Tcp(3), ..call(1) },
        Flow { reply: Tuple { protocol: protocol::TCP, ..call(1).reply }, ..call(1) },
    ];
    for flow in strange {
        assert!(matches!(decode(&put(flow)), Err(Malformed::Unsound(_))), "{flow:?}");
    }
    let many = Message::Changes(vec![Change::Gone(call(1).original); CHANGES_MAX + 1]);
    assert!(matches!(decode(&encode(&many).unwrap()), Err(Malformed::TooMany(_))));
    let trailing = [encode(&Message::End).unwrap(), vec![0]].concat();
    assert!(matches!(decode(&trailing), Err(Malformed::Trailing(1))));
}

#[test]
fn a_picture_counts_only_as_a_whole() {
    let mut replica = Replica::default();
    hear(&mut replica, 3, mirror(1, [call(1), call(2)]).picture(), NOW);
    let mut second = mirror(1, [call(2), call(3)]).picture();
    second.pop();
    hear(&mut replica, 3, second, NOW);
    replica.lost(3);
    assert_eq!(ports(replica.take(&sip(1).service, NOW)), [1, 2]);
    assert_eq!(ports(replica.take(&sip(1).service, NOW)), [0; 0], "once");
}

#[test]
fn the_owner_with_the_higher_epoch_counts() {
    let mut replica = Replica::default();
    hear(&mut replica, 3, mirror(7, [call(1)]).picture(), NOW);
    hear(&mut replica, 4, mirror(6, [call(2)]).picture(), NOW);
    let taken = replica.take(&sip(0).service, NOW).unwrap();
    assert_eq!((taken.owner, taken.connections[0].0.as_deref()), (3, Some("b")));
    assert_eq!(taken.connections[0].1.node, 2);
}

#[test]
fn what_an_owner_does_not_tell_about_any_more_stays_as_it_was() {
    let mut replica = Replica::default();
    hear(&mut replica, 3, mirror(7, [call(1)]).picture(), NOW);
    hear(&mut replica, 3, Mirror::new(PATH, NODE).picture(), NOW);
    hear(&mut replica, 3, vec![Message::Changes(vec![Change::Gone(call(1).original)])], NOW);
    assert_eq!(ports(replica.take(&sip(0).service, NOW)), [1]);
    replica.expire(NOW);
    assert_eq!(replica.take(&sip(0).service, NOW), None);
}

#[test]
fn what_no_picture_confirms_is_forgotten() {
    let mut replica = Replica::default();
    hear(&mut replica, 3, mirror(1, [call(1)]).picture(), NOW);
    replica.expire(NOW.plus(120_000));
    assert_eq!(replica.len(), 1);
    replica.expire(NOW.plus(120_000 + 2 * PICTURE));
    assert!(replica.is_empty());
}

#[test]
fn an_owner_without_connections_may_still_tell_of_the_first() {
    let mut replica = Replica::default();
    let mut mirror = mirror(1, []);
    hear(&mut replica, 3, mirror.picture(), NOW);
    replica.expire(NOW);
    let first = mirror.see(Tracked { flow: call(1), mark: 0x100 });
    hear(&mut replica, 3, vec![Message::Changes(first.into_iter().collect())], NOW);
    assert_eq!(replica.len(), 1);
}

#[test]
fn a_client_behind_the_owners_own_address_is_not_told() {
    let masqueraded = Flow {
        original: tuple(("203.0.113.9", 4000), ("10.10.0.200", 5060), protocol::UDP),
        reply: tuple(("10.244.2.7", 5060), ("10.10.0.1", 4711), protocol::UDP),
        ..call(0)
    };
    let direct = Flow { reply: tuple(("10.244.2.7", 5060), ("203.0.113.9", 4000), protocol::UDP), ..masqueraded };
    assert_eq!(mirror(1, [masqueraded]).picture().len(), 2);
    assert_eq!(mirror(1, [direct]).picture().len(), 3);
}

#[test]
fn there_is_room_for_so_many_and_no_more() {
    let mut mirror = mirror(1, []);
    let flow = |n: usize| {
        let bytes = u32::try_from(n).unwrap().to_be_bytes();
        let source = IpAddr::from([10, bytes[1], bytes[2], bytes[3]]);
        Flow { original: Tuple { source, ..call(1).original }, ..call(1) }
    };
    let seen = (0..=CONNECTIONS_MAX).filter_map(|n| mirror.see(Tracked { flow: flow(n), mark: 0x100 })).count();
    assert_eq!((seen, mirror.omitted()), (CONNECTIONS_MAX, 1));
    let mut replica = Replica::default();
    for owner in [3, 4, 3] {
        hear(&mut replica, owner, mirror.picture(), NOW);
    }
    assert_eq!(replica.len(), CONNECTIONS_MAX);
}

#[test]
fn a_notification_without_the_protocols_state_keeps_it() {
    let established = Flow {
        original: Tuple { protocol: protocol::TCP, ..call(1).original },
        reply: Tuple { protocol: protocol::TCP, ..call(1).reply },
        transport: Transport::Tcp(3),
        ..call(1)
    };
    let mut mirror = mirror(1, [established]);
    let assured = Flow { transport: Transport::Plain, progress: Progress::Answered, ..established };
    let Some(Change::Put(told)) = mirror.see(Tracked { flow: assured, mark: 0x100 }) else { panic!("not told") };
    assert_eq!((told.flow.transport, told.flow.progress), (Transport::Tcp(3), Progress::Answered));
    let later = Flow { timeout: 5, ..told.flow };
    assert_eq!(mirror.see(Tracked { flow: later, mark: 0x100 }), None, "only its time differs");
    let foreign = mirror.see(Tracked { flow: later, mark: 0x300 });
    assert_eq!(foreign, Some(Change::Gone(later.original)), "its path is another now");
}

/// Fifty thousand connections are told in so many bytes, and how many they were as JSON.
#[test]
fn a_connection_takes_less_than_fifty_bytes_on_the_wire() {
    let picture = mirror(1, (0..50_000).map(|n| call(n + 1))).picture();
    let bytes: usize = picture.iter().map(|message| encode(message).unwrap().len()).sum();
    let json: usize = picture.iter().map(|message| serde_json::to_vec(message).unwrap().len()).sum();
    println!("50000 connections: {bytes} bytes, as JSON {json}");
    assert!(bytes < 50_000 * 50, "{bytes}");
}

fn flows() -> impl Strategy<Value = Vec<(u16, bool, u32)>> {
    vec((1..20_u16, any::<bool>(), 1..400_u32), 0..60)
}

proptest! {
    #[test]
    fn a_replica_that_heard_everything_holds_what_the_owner_holds(first in flows(), later in flows()) {
        let mut mirror = mirror(1, first.iter().map(|(port, ..)| call(*port)));
        let mut replica = Replica::default();
        hear(&mut replica, 3, mirror.picture(), NOW);
        for (port, is_seen, _) in later {
            let flow = call(port);
            let change = if is_seen { mirror.see(Tracked { flow, mark: 0x100 }) } else { mirror.lose(&flow.original) };
            let changes = change.into_iter().collect();
            hear(&mut replica, 3, vec![Message::Changes(changes)], NOW);
        }
        let mut fresh = Replica::default();
        hear(&mut fresh, 3, mirror.picture(), NOW);
        prop_assert_eq!(ports(replica.take(&sip(1).service, NOW)), ports(fresh.take(&sip(1).service, NOW)));
    }

    #[test]
    fn noise_is_refused_or_says_the_same_again(noise in vec(any::<u8>(), 0..400)) {
        if let Ok(message) = decode(&noise) {
            prop_assert_eq!(decode(&encode(&message).unwrap()).unwrap(), message);
        }
    }
}
