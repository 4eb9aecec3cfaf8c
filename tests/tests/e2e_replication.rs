//! The next owner of an address knows the connections of the last one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where its assumption does")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};
use sortie_testkit::cluster::{Cluster, SERVER, manifests};
use sortie_testkit::{Flow, Stream, kernel, until};

const VIP: &str = "172.16.1.200";
const PACE: Duration = Duration::from_millis(5);
/// Longest time for a busy machine to agree.
const AGREE: Duration = Duration::from_secs(10);
const COUNT: usize = 3;

fn all() -> Vec<usize> {
    (1..=COUNT).collect()
}

fn others(number: usize) -> Vec<usize> {
    all().into_iter().filter(|other| *other != number).collect()
}

fn running() -> Result<Cluster> {
    let mut cluster = Cluster::new(COUNT)?;
    cluster.manifest("all.yaml", &manifests(COUNT))?;
    for number in all() {
        cluster.start(number)?;
    }
    Ok(cluster)
}

/// Whether a node holds the call of a pod to the server, with the address.
fn holds(cluster: &Cluster, node: usize, pod: usize) -> bool {
    let call = format!("src=10.244.{pod}.2 dst={} sport=5060", SERVER.0);
    let found = kernel::connections(&cluster.nodes[node - 1].namespace, &call).unwrap_or_default();
    found.iter().any(|line| line.contains(&format!("dst={VIP}")) && !line.contains("[UNREPLIED]"))
}

fn inherits(end: impl Fn(&mut Cluster, usize) -> Result<()>) -> Result<()> {
    let mut cluster = running()?;
    let owner = cluster.await_owner(&all(), AGREE)?;
    let stream = Stream::start(&cluster.nodes[owner - 1].pod, &[Flow::udp(5060, SERVER.into())], PACE)?;
    stream.answered(200, AGREE).with_context(|| cluster.logs())?;
    end(&mut cluster, owner)?;
    let next = cluster.await_owner(&others(owner), AGREE)?;
    until(AGREE, "the connection at the next owner", || holds(&cluster, next, owner)).with_context(|| cluster.logs())
}

#[test]
fn connections_are_there_when_the_owners_helper_was_killed() -> Result<()> {
    inherits(|cluster, owner| cluster.signal(owner, Signal::SIGKILL))
}

#[test]
fn connections_are_there_after_an_orderly_end() -> Result<()> {
    inherits(Cluster::stop)
}

#[test]
fn connections_are_there_when_the_owner_lost_its_device() -> Result<()> {
    inherits(|cluster, owner| cluster.nodes[owner - 1].namespace.ip("link set dev eth1 down"))
}

/// Where the server speaks of its own accord.
const SPEAKER: (Ipv4Addr, u16) = (SERVER.0, 7001);
/// Time between two things it says.
const PUSH: Duration = Duration::from_millis(10);

/// A pod that called once and is silent since.
struct Silent {
    socket: UdpSocket,
    /// What the server sees.
    seen: SocketAddr,
    /// Number of the last push it heard, and when.
    last: (u32, Instant),
    /// Longest time between two.
    gap: Duration,
}

impl Silent {
    fn call(cluster: &Cluster, number: usize, server: &UdpSocket) -> Result<Self> {
        let pod = &cluster.nodes[number - 1].pod;
        let socket = pod.with(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5060))?))?;
        socket.set_nonblocking(true)?;
        let end = Instant::now() + AGREE;
        loop {
            // Refused by ICMP until the way is there.
            let _ = socket.send_to(b"call", SPEAKER);
            if let Ok((_, seen)) = server.recv_from(&mut [0; 16])
                && seen.ip() == VIP.parse::<IpAddr>()?
            {
                return Ok(Self { socket, seen, last: (0, Instant::now()), gap: Duration::ZERO });
            }
            ensure!(Instant::now() < end, "the call does not arrive\n{}", cluster.logs());
        }
    }

    fn listen(&mut self) {
        let mut number = [0; 4];
        while self.socket.recv(&mut number).is_ok() {
            self.gap = self.gap.max(self.last.1.elapsed());
            self.last = (u32::from_be_bytes(number), Instant::now());
        }
    }
}

/// Pushes until every pod heard one that was sent from now on.
fn push(server: &UdpSocket, pods: &mut [Silent], number: &mut u32) -> Result<()> {
    let (first, end) = (*number + 1, Instant::now() + AGREE);
    while pods.iter().any(|pod| pod.last.0 < first + 20) {
        *number += 1;
        for pod in pods.iter_mut() {
            server.send_to(&number.to_be_bytes(), pod.seen)?;
            pod.listen();
        }
        ensure!(Instant::now() < end, "a pod hears nothing");
        // Nothing comes here: the pods are silent.
        ensure!(server.recv(&mut [0; 16]).is_err(), "a pod spoke");
    }
    Ok(())
}

/// A connection of a pod to the server, and the server's side of it.
fn connect(cluster: &Cluster, number: usize, listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let pod = cluster.nodes[number - 1].pod.with(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5060)).into())?;
        socket.connect(&SocketAddr::from(SPEAKER).into())?;
        Ok(TcpStream::from(socket))
    })?;
    let (server, from) = listener.accept()?;
    ensure!(from.ip() == VIP.parse::<IpAddr>()?, "{from}");
    for stream in [&pod, &server] {
        stream.set_read_timeout(Some(AGREE))?;
    }
    Ok((pod, server))
}

/// The server begins.
fn converse((pod, server): &mut (TcpStream, TcpStream)) -> Result<()> {
    let mut heard = [0; 4];
    server.write_all(b"push")?;
    pod.read_exact(&mut heard)?;
    pod.write_all(&heard)?;
    server.read_exact(&mut heard)?;
    ensure!(&heard == b"push");
    Ok(())
}

/// The pods of the other nodes have one port; one of them has another at the server.
fn survive(what: &str, end: impl Fn(&mut Cluster, usize) -> Result<()>) -> Result<()> {
    let mut cluster = running()?;
    let owner = cluster.await_owner(&all(), AGREE)?;
    let server = cluster.server.with(|| Ok(UdpSocket::bind(SPEAKER)?))?;
    server.set_read_timeout(Some(PUSH))?;
    let listener = cluster.server.with(|| Ok(TcpListener::bind(SPEAKER)?))?;
    let call = |number| Silent::call(&cluster, number, &server);
    let mut pods = others(owner).into_iter().map(call).collect::<Result<Vec<_>>>()?;
    ensure!(pods[0].seen != pods[1].seen, "no port was changed");
    let connect = |number| connect(&cluster, number, &listener);
    let mut streams = others(owner).into_iter().map(connect).collect::<Result<Vec<_>>>()?;
    streams.iter_mut().try_for_each(converse)?;
    let mut number = 0;
    push(&server, &mut pods, &mut number)?;
    pods.iter_mut().for_each(|pod| pod.gap = Duration::ZERO);
    end(&mut cluster, owner)?;
    push(&server, &mut pods, &mut number).with_context(|| cluster.logs())?;
    let gaps: Vec<Duration> = pods.iter().map(|pod| pod.gap).collect();
    eprintln!("{what}: the pods heard nothing for {gaps:?}");
    streams.iter_mut().try_for_each(converse).with_context(|| cluster.logs())?;
    cluster.await_owner(&others(owner), AGREE).map(drop)
}

#[test]
fn silent_pods_are_reached_after_the_owners_node_died() -> Result<()> {
    survive("node died", |cluster, owner| {
        cluster.signal(owner, Signal::SIGKILL)?;
        cluster.switch.ip(&format!("link set dev n{owner}l down\nlink set dev n{owner}o down"))
    })
}

#[test]
fn silent_pods_are_reached_after_a_planned_move() -> Result<()> {
    survive("planned move", Cluster::stop)
}
