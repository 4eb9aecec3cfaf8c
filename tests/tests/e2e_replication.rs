//! The next owner of an address knows the connections of the last one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where its assumption does")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};
use sortie_testkit::cluster::{Cluster, SERVER, manifests};
use sortie_testkit::{Flow, Stream, kernel, until};
use sortie_tests::push::Pushes;

const VIP: &str = "172.16.1.200";
const PACE: Duration = Duration::from_millis(5);
/// Longest time for a busy machine to agree.
const AGREE: Duration = Duration::from_secs(30);
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

/// Where the server takes connections and speaks of its own accord.
const SPEAKER: (Ipv4Addr, u16) = (SERVER.0, 7001);

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
    let pushes = Pushes::start(&cluster, &others(owner), PACE).with_context(|| cluster.logs())?;
    ensure!(pushes.seen[0] != pushes.seen[1], "no port was changed");
    ensure!(pushes.seen.iter().all(|seen| seen.ip().to_string() == VIP), "{:?}", pushes.seen);
    let listener = cluster.server.with(|| Ok(TcpListener::bind(SPEAKER)?))?;
    let connect = |number| connect(&cluster, number, &listener);
    let mut streams = others(owner).into_iter().map(connect).collect::<Result<Vec<_>>>()?;
    streams.iter_mut().try_for_each(converse)?;
    pushes.heard(20, AGREE)?;
    end(&mut cluster, owner)?;
    pushes.heard(20, AGREE).with_context(|| cluster.logs())?;
    eprintln!("{what}: the pods heard nothing for {:?}", pushes.stop()?);
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
fn nothing_is_inherited_where_replication_is_off() -> Result<()> {
    let mut cluster = Cluster::new(COUNT)?;
    cluster.manifest("all.yaml", &manifests(COUNT))?;
    all().into_iter().try_for_each(|number| cluster.start_with(number, &["--replication", "off"]))?;
    let owner = cluster.await_owner(&all(), AGREE)?;
    let pushes = Pushes::start(&cluster, &others(owner), PACE).with_context(|| cluster.logs())?;
    pushes.heard(20, AGREE)?;
    cluster.signal(owner, Signal::SIGKILL)?;
    let next = cluster.await_owner(&others(owner), AGREE)?;
    let pod = others(owner).into_iter().find(|number| *number != next).context("three nodes")?;
    let call = format!("src=10.244.{pod}.2 dst={} sport=5062", SERVER.0);
    let held = kernel::connections(&cluster.nodes[next - 1].namespace, &call)?;
    ensure!(held.is_empty(), "{held:?}");
    pushes.stop().map(drop)
}

#[test]
fn silent_pods_are_reached_after_a_planned_move() -> Result<()> {
    survive("planned move", Cluster::stop)
}

/// What a pod of the successor sends while the connections are not loaded yet begins none of its own.
#[test]
fn calls_keep_their_ports_while_their_own_node_takes_over() -> Result<()> {
    let mut cluster = running()?;
    let owner = cluster.await_owner(&all(), AGREE)?;
    let flows = [Flow::udp(5060, SERVER.into()), Flow::tcp(5060, SERVER.into())];
    let start = |number: usize| Stream::start(&cluster.nodes[number - 1].pod, &flows, Duration::from_millis(1));
    let streams = others(owner).into_iter().map(start).collect::<Result<Vec<_>>>()?;
    streams.iter().try_for_each(|stream| stream.answered(200, AGREE)).with_context(|| cluster.logs())?;
    cluster.stop(owner)?;
    cluster.await_owner(&others(owner), AGREE)?;
    streams.iter().try_for_each(|stream| stream.answered(200, AGREE)).with_context(|| cluster.logs())?;
    for (flow, tally) in streams.into_iter().flat_map(Stream::stop) {
        let sources: Vec<_> = tally.seen.keys().map(|seen| seen.source).collect();
        ensure!(sources.len() == 1 && tally.connections <= 1, "{flow}: {sources:?}\n{}", cluster.logs());
    }
    Ok(())
}
