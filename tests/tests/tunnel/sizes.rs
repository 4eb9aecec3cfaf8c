//! Errors about flows of pods of other nodes, and packets as large as the tunnel must take.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sortie_testkit::cluster::{Cluster, manifests};
use sortie_testkit::probe::udp_socket;
use sortie_testkit::{Capture, Captured, Namespace, Stream, kernel, until};

use super::stage::{AGREE, COUNT, PACE, everybody, flows, others, running, servers, vips};

/// Bytes of a large transfer.
const MUCH: usize = 1 << 20;
/// How long an answer may be missing before it is held for lost.
const SILENCE: Duration = Duration::from_secs(2);
/// Datagrams of one size.
const DATAGRAMS: usize = 50;

/// A running cluster, its owner and a pod of another node that was answered already.
fn remote() -> Result<(Cluster, Capture, usize, Namespace)> {
    let (cluster, capture) = running(&manifests(COUNT))?;
    let owner = cluster.await_owner(&everybody(&cluster), AGREE)?;
    let pod = cluster.nodes[others(owner)[0] - 1].pod.clone();
    served(&cluster, &pod)?;
    Ok((cluster, capture, owner, pod))
}

/// That a node knows the owner does not say yet that its kernel does.
fn served(cluster: &Cluster, pod: &Namespace) -> Result<()> {
    let stream = Stream::start(pod, &flows(), PACE)?;
    stream.answered(1, AGREE).with_context(|| cluster.logs())?;
    drop(stream);
    Ok(())
}

fn any(to: SocketAddr) -> SocketAddr {
    if to.is_ipv4() { "0.0.0.0:5060".parse().unwrap() } else { "[::]:5060".parse().unwrap() }
}

#[test]
fn a_far_end_that_does_not_listen_is_heard_by_a_pod_of_another_node() -> Result<()> {
    let (cluster, _capture, _, pod) = remote()?;
    for to in servers().map(|server| SocketAddr::new(server.ip(), 9)) {
        let refused = pod.with(|| {
            let socket = udp_socket(any(to))?;
            socket.connect(to).context("cannot connect")?;
            socket.set_read_timeout(Some(AGREE)).context("cannot set a time limit")?;
            socket.send(b"?").context("cannot send")?;
            Ok(socket.recv(&mut [0; 16]).err().map(|error| error.kind()))
        })?;
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused), "{to}\n{}", cluster.logs());
    }
    Ok(())
}

#[test]
fn an_error_a_pod_of_another_node_sends_leaves_by_the_owner_with_the_address() -> Result<()> {
    let (cluster, capture, owner, pod) = remote()?;
    for (to, vip) in servers().map(|server| SocketAddr::new(server.ip(), 9900)).into_iter().zip(vips()) {
        let far = cluster.server.with(|| udp_socket(to))?;
        far.set_read_timeout(Some(AGREE)).context("cannot set a time limit")?;
        pod.with(|| udp_socket(any(to))?.send_to(b"?", to).context("cannot send").map(drop))?;
        let (_, from) = far.recv_from(&mut [0; 16]).context("the request did not arrive")?;
        ensure!(from.ip() == vip, "{from}");
        far.connect(from).context("cannot connect")?;
        far.set_read_timeout(Some(SILENCE)).context("cannot set a time limit")?;
        // A machine that is so busy that an owner loses its lease loses what is sent meanwhile.
        let refused = || {
            let sent = far.send(b"!");
            sent.and_then(|_| far.recv(&mut [0; 16])).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        };
        until(AGREE, "the error to arrive", refused).with_context(|| format!("{to}\n{}", cluster.logs()))?;
        let is_error = |c: &Captured| {
            c.is_incoming
                && c.device.starts_with('n')
                && c.device.ends_with('o')
                && c.packet.about.as_ref().is_some_and(|p| p.source_port == 9900)
        };
        let errors: Vec<_> = capture.packets()?.into_iter().filter(is_error).collect();
        ensure!(!errors.is_empty(), "{to}: no error outside");
        for error in errors.iter().filter(|error| error.packet.destination == to.ip()) {
            assert_eq!((error.device.as_str(), error.packet.source), (format!("n{owner}o").as_str(), vip));
        }
    }
    Ok(())
}

/// The kernel tells the pod that what is larger than the tunnel's inside has to be fragmented at its source, which IPv6
/// does not leave to others: the datagram it says so about is lost.
fn learns_size(pod: &Namespace, to: SocketAddr) -> Result<()> {
    let socket = pod.with(|| udp_socket(any(to)))?;
    let knows = || {
        let _ = socket.send_to(&[b'?'; 1452], to);
        pod.run("ip", &["-6", "route", "get", &to.ip().to_string()]).is_ok_and(|route| route.contains("mtu 1450"))
    };
    until(AGREE, "the pod to learn the size", knows)
}

/// How many datagrams of this size were not answered, asked one after the other.
fn lost(pod: &Namespace, to: SocketAddr, size: usize) -> Result<usize> {
    let socket = pod.with(|| udp_socket(any(to)))?;
    socket.set_read_timeout(Some(SILENCE)).context("cannot set a time limit")?;
    let mut lost = 0;
    for _ in 0..DATAGRAMS {
        socket.send_to(&vec![b'?'; size], to).with_context(|| format!("cannot send {size} bytes to {to}"))?;
        lost += usize::from(socket.recv(&mut [0; 256]).is_err());
    }
    Ok(lost)
}

#[test]
fn datagrams_of_every_size_get_through_the_tunnel_without_loss() -> Result<()> {
    let (cluster, capture, owner, pod) = remote()?;
    learns_size(&pod, servers()[1])?;
    // First as a program that asks nothing of the kernel gets it, with "do not fragment"; then without.
    for without in ["0", "1"] {
        pod.sysctl("net/ipv4/ip_no_pmtu_disc", without)?;
        for to in servers() {
            let full = if to.is_ipv4() { 1472 } else { 1452 };
            for size in [full, 4000] {
                let lost = lost(&pod, to, size)?;
                // A machine that is so busy that an owner loses its lease loses what is sent meanwhile.
                let lease = kernel::counter(&cluster.nodes[owner - 1].namespace, "drop_lease")?;
                ensure!(lost == 0 || lease > 0, "{lost} of {size} bytes to {to} lost\n{}", cluster.logs());
            }
        }
    }
    let from = |c: &Captured| c.is_incoming && c.device.ends_with('o') && vips().contains(&c.packet.source);
    ensure!(capture.count(|c| from(c) && c.packet.is_fragment)? >= DATAGRAMS * 3, "nothing left in fragments");
    Ok(())
}

/// Sends much and reads much over one connection.
fn exchange(pod: &Namespace, to: SocketAddr) -> Result<usize> {
    let socket = pod.with(|| {
        let domain = if to.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).context("no socket")?;
        if to.is_ipv6() {
            socket.set_only_v6(true).context("cannot leave IPv4 alone")?;
        }
        socket.set_reuse_address(true).context("cannot reuse the address")?;
        socket.bind(&any(to).into()).context("cannot bind")?;
        socket.connect_timeout(&to.into(), AGREE).context("cannot connect")?;
        Ok(socket)
    })?;
    let mut stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(AGREE)).context("cannot set a time limit")?;
    stream.write_all(&vec![b'?'; MUCH]).context("cannot send")?;
    stream.shutdown(Shutdown::Write).context("cannot end")?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back).context("no answer")?;
    Ok(back.len())
}

/// Reads all of one connection, then sends as much back.
fn serve_much(listener: &TcpListener) -> Result<usize> {
    let (mut stream, _) = listener.accept().context("nobody comes")?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).context("cannot set a time limit")?;
    let mut got = Vec::new();
    stream.read_to_end(&mut got).context("cannot read")?;
    stream.write_all(&got).context("cannot send")?;
    Ok(got.len())
}

fn transfers(cluster: &Cluster, pod: &Namespace) -> Result<()> {
    for to in servers().map(|server| SocketAddr::new(server.ip(), 7100)) {
        let listener = cluster.server.with(|| TcpListener::bind(to).context("cannot listen"))?;
        let far = std::thread::spawn(move || serve_much(&listener));
        let back = exchange(pod, to).with_context(|| format!("{to}\n{}", cluster.logs()))?;
        assert_eq!((back, far.join().expect("the far end")?), (MUCH, MUCH), "{to}");
    }
    Ok(())
}

#[test]
fn a_large_transfer_over_tcp_needs_no_fragments_between_the_nodes() -> Result<()> {
    let (cluster, capture, _, pod) = remote()?;
    transfers(&cluster, &pod)?;
    let inside = |c: &Captured| c.device.ends_with('l') && c.packet.destination_port == 4797;
    ensure!(capture.count(inside)? > 100, "it did not pass between the nodes");
    let fragments = capture.count(|c| c.device.ends_with('l') && c.packet.is_fragment)?;
    assert_eq!(fragments, 0, "TCP was fragmented");
    Ok(())
}

/// Behind the router the path is narrower: "too big" comes back to the pod, and it sends smaller packets.
#[test]
fn too_big_is_heard_by_a_pod_of_another_node() -> Result<()> {
    let (cluster, capture, _, pod) = remote()?;
    cluster.router.ip("link set dev server mtu 1300")?;
    transfers(&cluster, &pod)?;
    let too_big = |c: &Captured| matches!((c.packet.protocol, c.packet.icmp), (1, Some((3, 4))) | (58, Some((2, 0))));
    ensure!(capture.count(|c| too_big(c) && c.device == "bo")? >= 2, "the router did not complain");
    Ok(())
}
