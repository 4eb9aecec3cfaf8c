//! A cluster on real sockets, in one process on loopback addresses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use sortie_peer::{
    Key, Kind, MESSAGE_MAX, PeerEvent, Peers, PeersError, Refusal, Sender, Setup, TABLE_MAX, Tuning, seal,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

const DEADLINE: Duration = Duration::from_secs(10);

/// Ports below those that clients are given, a new one for each cluster.
static PORT: AtomicU16 = AtomicU16::new(0);

fn port() -> u16 {
    let process = u16::try_from(std::process::id() % 1000).unwrap();
    20_000 + process * 10 + PORT.fetch_add(1, Ordering::Relaxed)
}

fn address(node: u16) -> IpAddr {
    Ipv4Addr::new(127, 0, 72, u8::try_from(node).unwrap()).into()
}

fn key() -> Key {
    Key::new(&[1; 32]).unwrap()
}

struct Node {
    number: u16,
    peers: Peers,
    events: Receiver<PeerEvent>,
}

impl Node {
    async fn start(number: u16, incarnation: u64, listen: SocketAddr) -> Self {
        let setup = Setup { node: number, incarnation, key: key(), seed: u64::from(number), tuning: Tuning::default() };
        let (peers, events) = Peers::start(setup, listen);
        Self { number, peers, events }
    }

    async fn at(number: u16, port: u16, members: u16) -> Self {
        let node = Self::start(number, 1, (address(number), port).into()).await;
        node.peers.set_peers((1..=members).map(|number| (number, address(number))).collect()).await.unwrap();
        node
    }

    /// The next event that `fits`.
    async fn sees(&mut self, what: &str, fits: impl Fn(&PeerEvent) -> bool) -> PeerEvent {
        let end = Instant::now() + DEADLINE;
        loop {
            let event = timeout_at(end, self.events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("node {} did not see {what}", self.number)).unwrap();
            if fits(&event) {
                return event;
            }
        }
    }

    async fn sees_up(&mut self, nodes: impl IntoIterator<Item = u16>) {
        let mut missing: BTreeSet<u16> = nodes.into_iter().filter(|node| *node != self.number).collect();
        while !missing.is_empty() {
            if let PeerEvent::Up(node) = self.sees("a node come up", |event| matches!(event, PeerEvent::Up(_))).await {
                missing.remove(&node);
            }
        }
    }

    async fn sees_down(&mut self, gone: u16) {
        self.sees("a node go down", |event| matches!(event, PeerEvent::Down(node) if *node == gone)).await;
    }

    async fn sees_table(&mut self, of: u16, expected: &[u8]) {
        let fits = |event: &PeerEvent| match event {
            PeerEvent::Table(node, _, table) => *node == of && **table == *expected,
            _ => false,
        };
        self.sees("a table", fits).await;
    }

    /// Waits until `reason` was counted `count` times.
    async fn counts(&self, reason: Refusal, count: u64) {
        let end = Instant::now() + DEADLINE;
        while self.peers.refusals().await.unwrap().get(&reason).copied().unwrap_or(0) < count {
            assert!(Instant::now() < end, "{reason} is not counted");
            tokio::task::yield_now().await;
        }
    }
}

async fn cluster(members: u16) -> Vec<Node> {
    let port = port();
    let mut nodes = Vec::new();
    for number in 1..=members {
        nodes.push(Node::at(number, port, members).await);
    }
    for node in &mut nodes {
        node.sees_up(1..=members).await;
    }
    nodes
}

#[tokio::test]
async fn a_node_that_leaves_is_seen_to_go() {
    let mut nodes = cluster(3).await;
    nodes.pop().unwrap().peers.leave().await.unwrap();
    for node in &mut nodes {
        node.sees_down(3).await;
    }
}

#[tokio::test]
async fn a_node_that_crashes_is_taken_for_down() {
    let port = port();
    let doomed = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut nodes = vec![Node::at(1, port, 3).await, Node::at(2, port, 3).await];
    let third = doomed.spawn(Node::at(3, port, 3)).await.unwrap();
    for node in &mut nodes {
        node.sees_up(1..=3).await;
    }
    let crashed = Instant::now();
    doomed.shutdown_background();
    for node in &mut nodes {
        node.sees_down(3).await;
    }
    println!("down after {} ms", crashed.elapsed().as_millis());
    drop(third);
}

#[tokio::test]
async fn tables_reach_all_peers_and_those_who_come_later() {
    let port = port();
    let mut nodes = vec![Node::at(1, port, 3).await, Node::at(2, port, 3).await];
    let large = vec![7; TABLE_MAX];
    nodes[0].peers.set_table(1, b"first".to_vec()).await.unwrap();
    nodes[1].sees_table(1, b"first").await;
    nodes[0].peers.set_table(2, large.clone()).await.unwrap();
    nodes[1].sees_table(1, &large).await;
    nodes.push(Node::at(3, port, 3).await);
    nodes[2].sees_table(1, &large).await;
}

#[tokio::test]
async fn a_table_over_the_limit_is_refused_at_home() {
    let node = Node::at(1, port(), 1).await;
    let refused = node.peers.set_table(1, vec![0; TABLE_MAX + 1]).await;
    assert!(matches!(refused, Err(PeersError::TableTooLong(length)) if length == TABLE_MAX + 1));
}

#[tokio::test]
async fn close_peers_are_heard_often() {
    let mut nodes = cluster(2).await;
    for node in &nodes {
        node.peers.set_close_peers(BTreeSet::from([1, 2])).await.unwrap();
    }
    for _ in 0..20 {
        nodes[0].sees("node 2", |event| matches!(event, PeerEvent::Heard(2, _))).await;
    }
}

#[tokio::test]
async fn forged_replayed_and_foreign_datagrams_are_refused_and_counted() {
    let port = port();
    let mut node = Node::at(1, port, 3).await;
    let attacker = UdpSocket::bind((address(2), port)).await.unwrap();
    let target = SocketAddr::from((address(1), port));
    let mut captured = [0; 2048];
    let (length, _) = attacker.recv_from(&mut captured).await.unwrap();
    let mine = seal(&key(), &Sender::new(2, 5).header(Kind::Editions, 1), &[]);
    let forged = seal(&Key::new(&[9; 32]).unwrap(), &Sender::new(2, 5).header(Kind::Leave, 1), &[]);
    let foreign = seal(&key(), &Sender::new(9, 5).header(Kind::Leave, 1), &[]);
    for datagram in [&mine[..], &mine, &forged, &foreign, b"noise", &captured[..length]] {
        attacker.send_to(datagram, target).await.unwrap();
    }
    node.sees("node 2", |event| matches!(event, PeerEvent::Heard(2, _))).await;
    for reason in [Refusal::Replayed, Refusal::Forged, Refusal::WrongVersion] {
        node.counts(reason, 1).await;
    }
    node.counts(Refusal::UnknownSender, 2).await;
}

#[tokio::test]
async fn a_stranger_gets_no_table() {
    let port = port();
    let node = Node::at(1, port, 3).await;
    let udp = UdpSocket::bind((address(2), port)).await.unwrap();
    udp.readable().await.unwrap();
    node.peers.set_table(1, b"claims".to_vec()).await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address(2), 0).into()).unwrap();
    let mut stream = socket.connect((address(1), port).into()).await.unwrap();
    let forged = seal(&Key::new(&[9; 32]).unwrap(), &Sender::new(2, 5).header(Kind::Ask, 1), &[]);
    stream.write_u32(u32::try_from(forged.len()).unwrap()).await.unwrap();
    stream.write_all(&forged).await.unwrap();
    let mut answer = Vec::new();
    assert!(matches!(stream.read_to_end(&mut answer).await, Ok(0) | Err(_)));
    node.counts(Refusal::Forged, 1).await;
}

#[tokio::test]
async fn a_connection_from_no_peers_address_is_closed_at_once() {
    let port = port();
    let _node = Node::at(1, port, 2).await;
    let udp = UdpSocket::bind((address(2), port)).await.unwrap();
    udp.readable().await.unwrap();
    let mut strangers = Vec::new();
    for _ in 0..100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address(9), 0).into()).unwrap();
        strangers.push(socket.connect((address(1), port).into()).await.unwrap());
    }
    let end = Instant::now() + Duration::from_secs(1);
    for mut stranger in strangers {
        let closed = timeout_at(end, stranger.read_u8()).await;
        assert!(closed.is_ok_and(|read| read.is_err()));
    }
}

#[tokio::test]
async fn a_taken_port_is_reported_and_tried_again() {
    let port = port();
    let taken = UdpSocket::bind((address(1), port)).await.unwrap();
    let mut nodes = [Node::at(1, port, 2).await, Node::at(2, port, 2).await];
    nodes[0].sees("trouble", |event| matches!(event, PeerEvent::Trouble(..))).await;
    drop(taken);
    nodes[0].sees_up([2]).await;
}

#[tokio::test]
async fn peers_of_the_sixth_version_meet_too() {
    let port = port();
    let listen = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
    let node = Node::start(1, 1, listen).await;
    node.peers.set_peers(BTreeMap::from([(2, listen.ip())])).await.unwrap();
    let other = seal(&key(), &Sender::new(2, 5).header(Kind::Editions, 1), &[]);
    let mut node = node;
    let sender = UdpSocket::bind("[::1]:0").await.unwrap();
    let end = Instant::now() + DEADLINE;
    loop {
        sender.send_to(&other, listen).await.unwrap();
        let heard = timeout_at(Instant::now() + Duration::from_millis(50), node.events.recv()).await;
        if matches!(heard, Ok(Some(PeerEvent::Heard(2, _)))) {
            return;
        }
        assert!(Instant::now() < end);
    }
}

fn numbered(number: u32, length: usize) -> Vec<u8> {
    let mut message = vec![0; length];
    message[..4].copy_from_slice(&number.to_be_bytes());
    message
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout_at(Instant::now() + DEADLINE, future).await.unwrap_or_else(|_| panic!("{what}"))
}

#[tokio::test]
async fn a_follower_hears_everything_in_order() {
    let nodes = cluster(2).await;
    let mut followers = nodes[0].peers.followers().await.unwrap();
    let mut following = nodes[1].peers.follow().node(1).await.unwrap();
    let follower = in_time("nobody follows", followers.recv()).await.unwrap();
    assert_eq!(follower.node(), 2);
    let tell = async {
        for number in 0..100 {
            follower.send(numbered(number, 40_000)).await.unwrap();
        }
    };
    let hear = async {
        for number in 0..100 {
            assert_eq!(in_time("a message", following.next()).await.unwrap(), numbered(number, 40_000));
        }
    };
    tokio::join!(tell, hear);
    drop(follower);
    assert_eq!(in_time("the end", following.next()).await, None);
}

#[tokio::test]
async fn a_slow_follower_holds_up_its_sender() {
    let nodes = cluster(2).await;
    let mut followers = nodes[0].peers.followers().await.unwrap();
    let mut following = nodes[1].peers.follow().node(1).await.unwrap();
    let follower = in_time("nobody follows", followers.recv()).await.unwrap();
    let mut sent = 0_u32;
    let patience = Duration::from_millis(300);
    while timeout_at(Instant::now() + patience, follower.send(numbered(sent, MESSAGE_MAX))).await.is_ok() {
        sent += 1;
        assert!(sent < 64, "64 MiB wait for a follower that reads nothing");
    }
    for number in 0..sent {
        assert_eq!(in_time("a message", following.next()).await.unwrap()[..4], number.to_be_bytes());
    }
}

#[tokio::test]
async fn a_stream_that_says_nothing_stays_open_until_the_follower_goes() {
    let nodes = cluster(2).await;
    let mut followers = nodes[0].peers.followers().await.unwrap();
    let mut following = nodes[1].peers.follow().node(1).await.unwrap();
    let follower = in_time("nobody follows", followers.recv()).await.unwrap();
    let quiet = timeout_at(Instant::now() + Duration::from_secs(6), following.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    drop(following);
    in_time("the follower's end", follower.gone()).await;
}

#[tokio::test]
async fn nobody_follows_a_node_that_does_not_tell() {
    let nodes = cluster(2).await;
    let mut following = nodes[1].peers.follow().node(1).await.unwrap();
    assert_eq!(in_time("the end", following.next()).await, None);
    let mut stranger = nodes[1].peers.follow().node(9).await.unwrap();
    assert_eq!(in_time("the end", stranger.next()).await, None);
}

#[tokio::test]
async fn a_recorded_request_to_follow_is_refused() {
    let port = port();
    let node = Node::at(1, port, 3).await;
    let udp = UdpSocket::bind((address(2), port)).await.unwrap();
    udp.readable().await.unwrap();
    let _followers = node.peers.followers().await.unwrap();
    let request = seal(&key(), &Sender::new(2, 5).header(Kind::Follow, 1), &[]);
    for is_new in [true, false] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address(2), 0).into()).unwrap();
        let mut stream = socket.connect((address(1), port).into()).await.unwrap();
        stream.write_u32(u32::try_from(request.len()).unwrap()).await.unwrap();
        stream.write_all(&request).await.unwrap();
        let answered = in_time("an answer or the end", stream.read_u32()).await;
        assert_eq!(answered.is_ok(), is_new);
    }
    node.counts(Refusal::Replayed, 1).await;
}
