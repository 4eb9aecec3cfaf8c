use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::seal::{Kind, Sender, seal};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

fn key(byte: u8) -> Key {
    Key::new(&[byte; 32]).unwrap()
}

fn gate() -> Gate {
    let mut gate = Gate::new(1, key(1));
    gate.set_peers(&BTreeMap::from([(2, PEER)]));
    gate
}

fn message(sender: &mut Sender, receiver: u16) -> Vec<u8> {
    seal(&key(1), &sender.header(Kind::Leave, receiver), b"")
}

#[test]
fn a_message_passes_once() {
    let (mut gate, message) = (gate(), message(&mut Sender::new(2, 5), 1));
    assert!(gate.open(PEER, &message).is_ok());
    assert_eq!(gate.open(PEER, &message), Err(Refusal::Replayed));
    assert_eq!(gate.refusals(), &Refusals::from([(Refusal::Replayed, 1)]));
}

#[test]
fn messages_out_of_order_pass_within_the_window() {
    let (mut gate, mut sender) = (gate(), Sender::new(2, 5));
    let mut messages: Vec<_> = (0..=WINDOW).map(|_| message(&mut sender, 1)).collect();
    messages.reverse();
    let refused: Vec<_> = messages.iter().filter(|message| gate.open(PEER, message).is_err()).collect();
    assert_eq!(refused, [&messages[WINDOW as usize]]);
}

#[test]
fn an_earlier_incarnation_is_refused_after_a_later_one() {
    let mut gate = gate();
    assert!(gate.open(PEER, &message(&mut Sender::new(2, 5), 1)).is_ok());
    assert!(gate.open(PEER, &message(&mut Sender::new(2, 6), 1)).is_ok());
    let mut old = Sender::new(2, 5);
    let _spent = old.header(Kind::Leave, 1);
    assert_eq!(gate.open(PEER, &message(&mut old, 1)), Err(Refusal::Replayed));
}

#[test]
fn each_other_refusal_has_its_reason() {
    let mut gate = gate();
    let elsewhere = "192.0.2.3".parse().unwrap();
    let mut forged = message(&mut Sender::new(2, 5), 1);
    forged[10] ^= 1;
    assert_eq!(gate.open(PEER, &message(&mut Sender::new(3, 5), 1)), Err(Refusal::UnknownSender));
    assert_eq!(gate.open(elsewhere, &message(&mut Sender::new(2, 5), 1)), Err(Refusal::UnknownSender));
    assert_eq!(gate.open(PEER, &message(&mut Sender::new(2, 5), 7)), Err(Refusal::Misdirected));
    assert_eq!(gate.open(PEER, &forged), Err(Refusal::Forged));
    assert_eq!(gate.open(PEER, b""), Err(Refusal::Malformed));
    assert_eq!(gate.refusals().values().sum::<u64>(), 5);
}

#[test]
fn a_mapped_address_is_the_peers_own() {
    let mapped = "::ffff:192.0.2.2".parse().unwrap();
    assert!(gate().open(mapped, &message(&mut Sender::new(2, 5), 1)).is_ok());
}

#[test]
fn what_was_seen_outlives_a_new_list_of_peers() {
    let (mut gate, message) = (gate(), message(&mut Sender::new(2, 5), 1));
    assert!(gate.open(PEER, &message).is_ok());
    gate.set_peers(&BTreeMap::from([(2, PEER), (3, PEER)]));
    assert_eq!(gate.open(PEER, &message), Err(Refusal::Replayed));
}

proptest! {
    #[test]
    fn no_counter_passes_twice_in_any_order(counters in prop::collection::vec((1..3_u64, 1..600_u64), 0..900)) {
        let (mut window, mut passed) = (Window::default(), BTreeSet::new());
        for (incarnation, counter) in counters {
            prop_assert!(!window.note(incarnation, counter) || passed.insert((incarnation, counter)));
        }
    }

    #[test]
    fn a_counter_within_the_window_passes_exactly_once(
            steps in prop::collection::vec(1..WINDOW, 1..50),
            back in 1..WINDOW,
        ) {
        let (mut window, mut newest, mut noted) = (Window::default(), WINDOW, BTreeSet::new());
        for step in steps {
            newest += step;
            prop_assert!(window.note(1, newest));
            noted.insert(newest);
        }
        let late = newest - back;
        prop_assert_eq!(window.note(1, late), !noted.contains(&late));
        prop_assert!(!window.note(1, late));
        prop_assert!(window.note(1, newest + 1));
    }
}
