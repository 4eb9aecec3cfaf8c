//! What a cluster promises, in virtual time: detection, load, false alarms, recovery.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test stops at the first surprise")]

mod network;

use std::collections::BTreeSet;
use std::time::Duration;

use network::Network;
use sortie_peer::{MemberEvent, Membership};

const SECOND: Duration = Duration::from_secs(1);

fn joined(size: u16, seed: u64) -> Network {
    let mut network = Network::start(size, seed);
    let took = network.until(60 * SECOND, Network::agrees);
    println!("{size} nodes know each other after {} ms", took.as_millis());
    network.run(5 * SECOND);
    network
}

/// Milliseconds until each survivor took a crashed node for down, sorted.
fn detection(network: &mut Network, victim: u16) -> Vec<u128> {
    let crashed = network.now;
    network.crash(victim);
    network.seen.clear();
    network.until(10 * SECOND, Network::agrees);
    let downs = network.seen.iter().filter(|seen| seen.event == MemberEvent::Down(victim));
    let mut times: Vec<_> = downs.map(|seen| (seen.at - crashed).as_millis()).collect();
    times.sort_unstable();
    times
}

fn detections(size: u16, crashes: u16, loss: f64) -> Vec<u128> {
    let mut network = joined(size, u64::from(size));
    network.loss = loss;
    let mut all = Vec::new();
    for crash in 0..crashes {
        let victim = 1 + crash % size;
        all.extend(detection(&mut network, victim));
        network.boot(victim);
        network.until(60 * SECOND, Network::agrees);
        network.run(Duration::from_millis(1000 + u64::from(crash) * 37 % 100));
    }
    all.sort_unstable();
    let at = |share: usize| all[(all.len() - 1) * share / 100];
    println!("{size} nodes, crash to down: median {} p90 {} p99 {} max {} ms", at(50), at(90), at(99), at(100));
    all
}

#[test]
fn a_crash_is_noticed_in_small_clusters() {
    for size in [2, 3, 8] {
        let times = detections(size, 60, 0.0);
        assert!(times[times.len() / 2] <= 350, "{size}");
        assert!(times[times.len() - 1] <= 700, "{size}");
    }
}

#[test]
fn a_crash_is_noticed_in_large_clusters() {
    let times = detections(100, 8, 0.0);
    assert!(times[times.len() - 1] <= 1500);
}

#[test]
fn lost_datagrams_bury_nobody() {
    for (size, time) in [(3, 300), (8, 120), (30, 30)] {
        let mut network = joined(size, 7);
        network.seen.clear();
        network.loss = 0.05;
        network.run(time * SECOND);
        let downs = network.seen.iter().filter(|seen| matches!(seen.event, MemberEvent::Down(_))).count();
        println!("{size} nodes, {time} s at 5 % loss: {downs} times a living node was taken for down");
        assert!(downs <= usize::from(size), "{size} nodes: {downs}");
        network.until(10 * SECOND, Network::agrees);
    }
}

/// Datagrams and bytes of payload a node sends in a second.
fn load(size: u16) -> (u64, u64) {
    let mut network = joined(size, 3);
    network.run(5 * SECOND);
    network.sent.clear();
    network.run(2 * SECOND);
    let datagrams = network.sent.values().map(|sent| sent.datagrams).sum::<u64>() / u64::from(size) / 2;
    let bytes = network.sent.values().map(|sent| sent.bytes).sum::<u64>() / u64::from(size) / 2;
    let most = network.sent.values().map(|sent| sent.datagrams).max().unwrap() / 2;
    println!("{size} nodes: {datagrams} datagrams/s, {bytes} bytes/s per node; the busiest {most} datagrams/s");
    (datagrams, bytes)
}

fn assert_load_of(size: u16) {
    let (small, large) = (load(10), load(size));
    assert!(large.0 <= small.0 * 3 / 2, "{size}: {large:?}");
    assert!(large.1 <= small.1 * 3 / 2, "{size}: {large:?}");
}

#[test]
fn load_does_not_grow_with_the_cluster() {
    assert_load_of(100);
}

#[test]
fn load_does_not_grow_to_a_thousand_nodes() {
    assert_load_of(1000);
}

#[test]
fn a_crash_is_noticed_among_a_thousand_nodes() {
    let times = detections(1000, 2, 0.0);
    assert!(times[times.len() - 1] <= 2500);
}

#[test]
fn close_peers_hear_each_other_within_the_heartbeat() {
    let mut network = joined(100, 5);
    for node in 1..=3 {
        let others = BTreeSet::from([1, 2, 3]);
        network.with(node, |member, _| member.set_close_peers(others));
    }
    network.run(SECOND);
    for _ in 0..200 {
        network.run(Duration::from_millis(7));
        let silence = network.now - network.nodes[&1].heard(3).unwrap();
        assert!(silence <= Duration::from_millis(77), "{silence:?}");
    }
}

#[test]
fn a_restarted_node_is_up_again_at_once() {
    let mut network = joined(5, 1);
    network.crash(2);
    network.boot(2);
    let took = network.until(SECOND, Network::agrees);
    assert!(took < Duration::from_millis(300), "{took:?}");
    network.run(2 * SECOND);
    assert!(network.agrees());
}

#[test]
fn a_healed_partition_leaves_no_scars() {
    let mut network = joined(6, 2);
    let halves = [[1, 2, 3], [4, 5, 6]];
    for (one, other) in halves[0].into_iter().flat_map(|one| halves[1].map(|other| (one, other))) {
        network.cut.extend([(one, other), (other, one)]);
    }
    network.until(3 * SECOND, |network| network.nodes.values().all(|node| node.up().len() == 2));
    network.cut.clear();
    let took = network.until(5 * SECOND, Network::agrees);
    println!("healed after {} ms", took.as_millis());
    network.run(5 * SECOND);
    assert!(network.agrees());
}

#[test]
fn a_node_that_leaves_is_down_at_once() {
    let mut network = joined(8, 3);
    network.seen.clear();
    network.with(4, |member, now| member.leave(now));
    network.run(Duration::from_millis(2));
    let told = network.seen.iter().filter(|seen| seen.event == MemberEvent::Down(4)).count();
    assert_eq!(told, 7);
    network.run(3 * SECOND);
    assert!(network.nodes.iter().all(|(number, node)| *number == 4 || !node.up().contains(&4)));
}

#[test]
fn a_new_table_is_known_everywhere_soon() {
    let mut network = joined(100, 4);
    network.with(9, |member, now| member.set_table_version(now, 1));
    let knows = |node: &Membership| node.edition(9).is_some_and(|edition| edition.version == 1);
    let known = |network: &Network| network.nodes.iter().all(|(number, node)| *number == 9 || knows(node));
    let took = network.until(5 * SECOND, known);
    println!("100 nodes know a table after {} ms", took.as_millis());
    assert!(took < SECOND, "{took:?}");
}

#[test]
fn a_newcomer_learns_of_all_tables_with_its_first_answer() {
    let mut network = joined(50, 4);
    for node in 2..=50 {
        network.with(node, |member, now| member.set_table_version(now, 3));
    }
    network.run(10 * SECOND);
    network.crash(1);
    network.boot(1);
    network.run(Duration::from_millis(10));
    let missing = (2..=50).filter(|node| network.nodes[&1].edition(*node).is_none_or(|edition| edition.version < 3));
    assert_eq!(missing.count(), 0);
}

#[test]
fn a_peer_no_longer_named_is_down_and_refused() {
    let mut network = joined(3, 6);
    network.seen.clear();
    let rest = std::collections::BTreeMap::from([(2, "10.0.0.2".parse().unwrap())]);
    network.with(1, |member, now| member.set_peers(now, rest));
    assert!(network.seen.iter().any(|seen| seen.event == MemberEvent::Down(3)));
    network.run(SECOND);
    assert_eq!(network.nodes[&1].up().iter().copied().collect::<Vec<_>>(), [2]);
    assert!(network.nodes[&1].refusals().contains_key(&sortie_peer::Refusal::UnknownSender));
    assert!(network.nodes[&2].up().contains(&3));
}
