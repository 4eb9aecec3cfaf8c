//! One request and its answer.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use crate::flow::{Flow, Seen, Transport};
use crate::net::Namespace;
use crate::packet;
use crate::raw::Raw;
use crate::sctp;
use crate::wait;

/// How long a closed port may still be taken.
const TAKEN: Duration = Duration::from_secs(2);

/// Sends one request from inside and returns what the far end saw; nothing when no answer comes within `limit`.
///
/// UDP and SCTP send exactly one packet; TCP as many as it takes.
///
/// # Errors
/// When the own port cannot be used.
pub fn probe(namespace: &Namespace, flow: Flow, limit: Duration) -> Result<Option<Seen>> {
    namespace.with(|| ask(flow, limit))
}

/// As [`probe`], in the namespace of the calling thread.
///
/// # Errors
/// When the own port cannot be used.
pub fn ask(flow: Flow, limit: Duration) -> Result<Option<Seen>> {
    match flow.transport {
        Transport::Udp => ask_udp(flow, limit),
        Transport::Tcp => ask_tcp(flow, limit),
        Transport::Sctp => ask_sctp(flow, limit),
    }
}

/// Sends one echo request and says whether its answer came.
///
/// # Errors
/// When there is no raw socket.
pub fn ping(namespace: &Namespace, to: IpAddr, limit: Duration) -> Result<bool> {
    namespace.with(|| {
        let protocol = if to.is_ipv4() { packet::ICMP } else { packet::ICMPV6 };
        let reply = if to.is_ipv4() { 0 } else { 129 };
        let raw = Raw::open(protocol, to, None)?;
        if raw.send_echo(to, 1).is_err() {
            return Ok(false);
        }
        let is_answer = |(bytes, from): &(Vec<u8>, IpAddr)| *from == to && bytes.first() == Some(&reply);
        Ok(await_raw(&raw, limit, |got| is_answer(&got).then_some(())).is_some())
    })
}

fn ask_udp(flow: Flow, limit: Duration) -> Result<Option<Seen>> {
    let own = SocketAddr::new(flow.any(), flow.port);
    let socket = udp_socket(own)?;
    socket.set_read_timeout(Some(limit)).context("cannot set a time limit")?;
    if socket.connect(flow.to).is_err() || socket.send(b"?").is_err() {
        return Ok(None);
    }
    let mut buffer = [0; 256];
    let Ok(length) = socket.recv(&mut buffer) else { return Ok(None) };
    Ok(Seen::read(&String::from_utf8_lossy(&buffer[..length])))
}

fn ask_tcp(flow: Flow, limit: Duration) -> Result<Option<Seen>> {
    let socket = tcp_socket(flow)?;
    if socket.connect_timeout(&flow.to.into(), limit).is_err() {
        return Ok(None);
    }
    let mut stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(limit)).context("cannot set a time limit")?;
    if stream.write_all(b"?").is_err() {
        return Ok(None);
    }
    let mut line = String::new();
    let read = BufReader::new(&stream).read_line(&mut line);
    Ok(read.ok().and_then(|_| Seen::read(&line)))
}

/// A socket of the calling thread's namespace with the flow's own port, not yet connected. Its port can be used again at
/// once: it ends with a reset.
///
/// # Errors
/// When the own port cannot be used.
pub fn tcp_socket(flow: Flow) -> Result<Socket> {
    let domain = if flow.to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, None).context("no socket")?;
    if flow.to.is_ipv6() {
        socket.set_only_v6(true).context("cannot leave IPv4 alone")?;
    }
    socket.set_reuse_address(true).context("cannot reuse the address")?;
    if flow.to.is_ipv6() {
        socket.set_only_v6(true).context("cannot leave IPv4 alone")?;
    }
    socket.set_linger(Some(Duration::ZERO)).context("cannot set linger")?;
    let own = SocketAddr::new(flow.any(), flow.port);
    wait::poll(TAKEN, "the own port", || socket.bind(&own.into()).ok())
        .with_context(|| format!("cannot use tcp port {}", flow.port))?;
    Ok(socket)
}

/// A socket of the calling thread's namespace for one family only, so that the other one may use the same port. A thread
/// that starts a program holds a copy of every socket for a moment, so a port that was just closed may still be taken.
///
/// # Errors
/// When the address cannot be used.
pub fn udp_socket(own: SocketAddr) -> Result<UdpSocket> {
    let domain = if own.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, None).context("no socket")?;
    if own.is_ipv6() {
        socket.set_only_v6(true).context("cannot leave IPv4 alone")?;
    }
    wait::poll(TAKEN, "the own port", || socket.bind(&own.into()).ok())
        .with_context(|| format!("cannot use udp port {}", own.port()))?;
    Ok(socket.into())
}

fn ask_sctp(flow: Flow, limit: Duration) -> Result<Option<Seen>> {
    let raw = Raw::open(packet::SCTP, flow.to.ip(), None)?;
    if raw.send_init(flow.port, flow.to).is_err() {
        return Ok(None);
    }
    Ok(await_raw(&raw, limit, |(bytes, from)| sctp_answer(flow, &bytes, from)))
}

/// The report in an INIT ACK that answers `flow`.
pub(crate) fn sctp_answer(flow: Flow, bytes: &[u8], from: IpAddr) -> Option<Seen> {
    let (ports, text) = sctp::read_init_ack(bytes)?;
    let fits = from == flow.to.ip() && ports.source == flow.to.port() && ports.destination == flow.port;
    if fits { Seen::read(&text) } else { None }
}

fn await_raw<T>(raw: &Raw, limit: Duration, mut take: impl FnMut((Vec<u8>, IpAddr)) -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        let left = end.checked_duration_since(Instant::now())?;
        let mut ready = [PollFd::new(raw.socket().as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut ready, PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO));
        while let Some(got) = raw.receive() {
            if let Some(found) = take(got) {
                return Some(found);
            }
        }
    }
}
