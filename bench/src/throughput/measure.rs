//! One connection, and one packet after the other.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};
use sortie_testkit::Flow;
use sortie_testkit::cluster::SERVER;
use sortie_testkit::probe::{tcp_socket, udp_socket};

use crate::statistics::f64_of;

use super::stage::{Stage, Way};

/// How long a connection sends.
const CONNECTION: Duration = Duration::from_millis(600);
/// How long packets go to and fro.
const ROUND_TRIPS: Duration = Duration::from_millis(250);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_millis(500);
/// What is written and read at once.
const CHUNK: usize = 128 << 10;
/// The server's port for single packets.
const UDP_PORT: u16 = 7100;

/// Times of answers, microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundTrips {
    pub(super) median: f64,
    pub(super) p99: f64,
}

/// Whether a packet is answered.
pub(super) fn is_open(stage: &Stage, way: Way) -> bool {
    Wire::new(stage, way).and_then(|wire| wire.round_trip(Instant::now())).is_ok()
}

/// Gigabits each second that one TCP connection gets from a pod to the server.
///
/// # Errors
/// When it does not open, breaks, or comes from another address than it should.
pub(super) fn gigabits(stage: &Stage, way: Way) -> Result<f64> {
    let (pod, port, expected) = stage.sender(way);
    let listener = stage.server().with(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot listen"))?;
    // Nobody waits for ever for a connection that does not open.
    let limit = TimeVal::milliseconds(i64::try_from(ANSWER.as_millis()).unwrap_or(i64::MAX));
    setsockopt(&listener, sockopt::ReceiveTimeout, &limit).context("cannot limit the time to connect")?;
    let to = SocketAddr::from((SERVER.0, listener.local_addr()?.port()));
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| pod.with(|| pour(Flow::tcp(port, to))));
        let (stream, from) = listener.accept().context("nobody connects")?;
        ensure!(from.ip() == expected, "a connection from {from}, not {expected}");
        let rate = drain(stream)?;
        sender.join().map_err(|_| anyhow!("the sender panicked"))??;
        Ok(rate)
    })
}

/// Sends until the time is over; then the connection ends with a reset.
fn pour(flow: Flow) -> Result<()> {
    let socket = tcp_socket(flow)?;
    socket.connect_timeout(&flow.to.into(), ANSWER).context("cannot connect")?;
    let mut stream: TcpStream = socket.into();
    let (chunk, begin) = (vec![0; CHUNK], Instant::now());
    while begin.elapsed() < CONNECTION {
        stream.write_all(&chunk).context("a connection broke")?;
    }
    Ok(())
}

/// Reads to the end, which is a reset, and says how fast it came.
fn drain(mut stream: TcpStream) -> Result<f64> {
    stream.set_read_timeout(Some(ANSWER))?;
    let (mut chunk, begin) = (vec![0; CHUNK], Instant::now());
    let (mut bytes, mut last) = (0_usize, begin);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => (bytes, last) = (bytes + length, Instant::now()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            // The reset is a single packet. Lost in a moment without permission, it is not sent again.
            Err(error) if error.kind() == ErrorKind::WouldBlock && bytes > 0 => break,
            Err(error) => return Err(error).context("a connection stopped"),
        }
    }
    // Counted in eights of a thousand bytes, so that it fits.
    Ok(f64_of(bytes / 125) / 1e6 / (last - begin).as_secs_f64())
}

/// One packet in flight, both ends asked in turns without sleep.
///
/// # Errors
/// When an answer is missing.
pub(super) fn round_trips(stage: &Stage, way: Way) -> Result<RoundTrips> {
    let wire = Wire::new(stage, way)?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    loop {
        let start = Instant::now();
        if start - begin > ROUND_TRIPS {
            break;
        }
        wire.round_trip(start)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    let at = |hundredth: usize| times[(times.len() - 1) * hundredth / 100];
    ensure!(!times.is_empty(), "not one round trip");
    Ok(RoundTrips { median: at(50), p99: at(99) })
}

/// Both ends of a UDP flow, in one thread.
struct Wire {
    pod: UdpSocket,
    server: UdpSocket,
    expected: IpAddr,
}

impl Wire {
    fn new(stage: &Stage, way: Way) -> Result<Self> {
        let (pod, port, expected) = stage.sender(way);
        let server = stage.server().with(|| udp_socket((SERVER.0, UDP_PORT).into()))?;
        let pod = pod.with(|| udp_socket((Ipv4Addr::UNSPECIFIED, port).into()))?;
        pod.connect((SERVER.0, UDP_PORT)).context("cannot connect")?;
        server.set_nonblocking(true)?;
        pod.set_nonblocking(true)?;
        Ok(Self { pod, server, expected })
    }

    fn round_trip(&self, start: Instant) -> Result<()> {
        let mut buffer = [0; 64];
        self.pod.send(b"sixteen bytes .. ").context("cannot send")?;
        let (length, from) = spin(start, || self.server.recv_from(&mut buffer))?;
        ensure!(from.ip() == self.expected, "a packet from {from}, not {}", self.expected);
        self.server.send_to(&buffer[..length], from).context("cannot answer")?;
        let mut buffer = [0; 64];
        spin(start, || self.pod.recv(&mut buffer)).map(drop)
    }
}

fn spin<T>(start: Instant, mut receive: impl FnMut() -> std::io::Result<T>) -> Result<T> {
    loop {
        match receive() {
            Err(error) if error.kind() == ErrorKind::WouldBlock && start.elapsed() < ANSWER => std::hint::spin_loop(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("no packet came"),
            other => return other.context("cannot receive"),
        }
    }
}
