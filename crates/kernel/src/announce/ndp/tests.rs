use super::*;

const OWNER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn vip() -> Ipv6Addr {
    "2001:db8::9".parse().unwrap()
}

fn peer() -> Ipv6Addr {
    "2001:db8::2".parse().unwrap()
}

fn question() -> Discovery {
    Discovery::question(PEER, peer(), vip())
}

#[test]
fn every_form_is_read_as_it_was_built() {
    let probe = Discovery::probe(PEER, vip());
    let announcement = Discovery::announcement(OWNER, vip());
    for message in [question(), question().answer(OWNER), probe, probe.answer(OWNER), announcement] {
        assert_eq!(Discovery::parse(&message.frame()), Some(message));
    }
}

/// `fe80::1` asks for `2001:db8::9`; the checksum is not from our own code.
#[test]
fn a_solicitation_written_by_hand_is_read() {
    let mut frame = vec![0x33, 0x33, 0xff, 0, 0, 9, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255];
    frame.extend("fe80::1".parse::<Ipv6Addr>().unwrap().octets());
    frame.extend("ff02::1:ff00:9".parse::<Ipv6Addr>().unwrap().octets());
    frame.extend([135, 0, 0x4b, 0x50, 0, 0, 0, 0]);
    frame.extend(vip().octets());
    frame.extend([1, 1, 2, 0, 0, 0, 0, 2]);
    let read = Discovery::parse(&frame).unwrap();
    assert_eq!((read.kind, read.target, read.link), (Kind::Solicitation, vip(), Some(PEER)));
}

#[test]
fn an_answer_overrides_and_is_of_no_router() {
    let answer = question().answer(OWNER);
    assert_eq!(answer.kind, Kind::Advertisement(SOLICITED | OVERRIDE));
    assert_eq!((answer.source, answer.destination, answer.header.destination), (vip(), peer(), PEER));
    assert_eq!(answer.frame()[58], 0x60);
    let unasked = Discovery::announcement(OWNER, vip());
    assert_eq!((unasked.kind, unasked.destination), (Kind::Advertisement(OVERRIDE), ALL_NODES));
}

#[test]
fn who_has_no_address_yet_is_answered_to_everybody() {
    let answer = Discovery::probe(PEER, vip()).answer(OWNER);
    assert_eq!((answer.destination, answer.kind), (ALL_NODES, Kind::Advertisement(OVERRIDE)));
    assert_eq!(answer.header.destination, Mac([0x33, 0x33, 0, 0, 0, 1]));
}

#[test]
fn the_option_names_the_asker_and_else_the_frame() {
    let other = Mac([2, 0, 0, 0, 0, 7]);
    let relayed = Discovery { link: Some(other), ..question() };
    assert_eq!(relayed.answer(OWNER).header.destination, other);
    let silent = Discovery { link: None, ..question() };
    assert_eq!(silent.answer(OWNER).header.destination, PEER);
}

#[test]
fn short_frames_and_changed_bytes_are_not_read() {
    let frame = question().frame();
    assert!((0..frame.len()).all(|length| Discovery::parse(&frame[..length]).is_none()));
    assert!(Discovery::parse(&[frame.as_slice(), &[0; 4]].concat()).is_some(), "padding");
    // 12: EtherType, 14: version, 19: length, 20: next header, 21: hop limit; from 22 on all is in the checksum.
    for place in [12, 14, 19, 20, 21].into_iter().chain(22..frame.len()) {
        let mut odd = frame.clone();
        odd[place] ^= 0x80;
        assert_eq!(Discovery::parse(&odd), None, "byte {place}");
    }
}

#[test]
fn what_rfc_4861_discards_is_not_read() {
    let group = ALL_NODES;
    let forged = [
        Discovery { target: group, ..question() },
        Discovery { source: group, ..question() },
        Discovery { link: Some(Mac::BROADCAST), ..question() },
        Discovery { source: Ipv6Addr::UNSPECIFIED, ..question() },
        Discovery { destination: vip(), ..Discovery::probe(PEER, vip()) },
        Discovery { kind: Kind::Advertisement(SOLICITED), ..Discovery::announcement(OWNER, vip()) },
    ];
    for message in forged {
        assert_eq!(Discovery::parse(&message.frame()), None, "{message:?}");
    }
}

#[test]
fn random_bytes_do_no_harm() {
    let mut seed = 1_u64;
    for round in 0..20_000_usize {
        let mut frame = question().frame();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = usize::try_from(seed >> 33).unwrap() % frame.len();
            frame[place] = seed.to_le_bytes()[3];
        }
        frame.truncate(frame.len() - round % 9);
        let (header, packet) = Header::split(&frame, IPV6).unwrap_or((question().header, &[]));
        let _ = wire::parse(header, packet);
        let _ = super::super::arp::Arp::parse(&frame);
    }
}
