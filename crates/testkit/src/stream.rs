//! Traffic that goes on until it is stopped.
//!
//! Guarantees: every flow sends at the given pace whatever happens to it; a TCP connection that breaks is opened again
//! from the same port. What came back is known per flow. Leaves out: judging it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::Socket;

use crate::flow::{Flow, Seen, Transport};
use crate::net::Namespace;
use crate::packet::SCTP;
use crate::probe::{sctp_answer, tcp_socket, udp_socket};
use crate::raw::Raw;
use crate::wait;

/// How long a TCP connection may take to open before it is tried anew.
const OPENING: Duration = Duration::from_millis(150);
/// How long an open TCP connection may be silent before it counts as broken and is opened anew; its own third
/// retransmission comes after 1.4 s.
const SILENCE: Duration = Duration::from_secs(3);

/// What became of one flow.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Requests.
    pub sent: u64,
    /// Answers.
    pub answered: u64,
    /// TCP connections that were opened.
    pub connections: u64,
    /// Answers by what the far end saw.
    pub seen: BTreeMap<Seen, u64>,
    /// Longest time between two answers.
    pub longest_silence: Duration,
    /// When the last answer came.
    pub last: Option<Instant>,
}

impl Tally {
    /// Answers by this door.
    #[must_use]
    pub fn answered_by(&self, door: &str) -> u64 {
        self.seen.iter().filter(|(seen, _)| seen.door == door).map(|(_, count)| count).sum()
    }
}

/// Running traffic.
#[derive(Debug)]
pub struct Stream {
    tallies: Arc<Mutex<BTreeMap<Flow, Tally>>>,
    is_over: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Stream {
    /// Starts every flow inside; each sends a request per `pace`.
    ///
    /// # Errors
    /// When a port is taken.
    pub fn start(namespace: &Namespace, flows: &[Flow], pace: Duration) -> Result<Self> {
        let tallies: Arc<Mutex<BTreeMap<Flow, Tally>>> = Arc::default();
        let senders = namespace.with(|| flows.iter().map(|flow| Sender::open(*flow)).collect::<Result<Vec<_>>>())?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (theirs, over, inside) = (Arc::clone(&tallies), Arc::clone(&is_over), namespace.clone());
        let sender = std::thread::spawn(move || {
            // New TCP sockets are opened on this thread.
            if inside.enter().is_ok() {
                run(senders, pace, (&theirs, &over));
            }
        });
        Ok(Self { tallies, is_over, sender: Some(sender) })
    }

    /// What became of each flow so far.
    #[must_use]
    pub fn tallies(&self) -> BTreeMap<Flow, Tally> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until every flow has had `count` more answers.
    ///
    /// # Errors
    /// When one has not in time.
    pub fn answered(&self, count: u64, limit: Duration) -> Result<()> {
        let before = self.tallies();
        let has_enough =
            |(flow, tally): (&Flow, &Tally)| tally.answered >= before.get(flow).map_or(0, |t| t.answered) + count;
        wait::until(limit, "answers on every flow", || {
            let now = self.tallies();
            !now.is_empty() && now.iter().all(has_enough)
        })
        .with_context(|| format!("{:#?}", self.tallies()))
    }

    /// Waits until every flow has sent `count` more requests, answered or not.
    ///
    /// # Errors
    /// When one has not in time.
    pub fn sent(&self, count: u64, limit: Duration) -> Result<()> {
        let before = self.tallies();
        let has_enough = |(flow, tally): (&Flow, &Tally)| tally.sent >= before.get(flow).map_or(0, |t| t.sent) + count;
        wait::until(limit, "requests on every flow", || {
            let now = self.tallies();
            !now.is_empty() && now.iter().all(has_enough)
        })
    }

    /// Ends it and returns what became of each flow.
    #[must_use]
    pub fn stop(mut self) -> BTreeMap<Flow, Tally> {
        self.end();
        self.tallies()
    }

    fn end(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(mut senders: Vec<Sender>, pace: Duration, (tallies, over): (&Mutex<BTreeMap<Flow, Tally>>, &AtomicBool)) {
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        for sender in &mut senders {
            sender.send();
            sender.receive();
        }
        {
            let mut all = tallies.lock().unwrap_or_else(PoisonError::into_inner);
            for sender in &senders {
                all.insert(sender.flow, sender.tally.clone());
            }
        }
        next = (next + pace).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

struct Sender {
    flow: Flow,
    means: Means,
    tally: Tally,
}

enum Means {
    Udp(UdpSocket),
    Sctp(Raw),
    Tcp(Option<Connection>),
}

struct Connection {
    socket: Socket,
    since: Instant,
    is_open: bool,
}

impl Sender {
    fn open(flow: Flow) -> Result<Self> {
        let means = match flow.transport {
            Transport::Udp => {
                let own = SocketAddr::new(flow.any(), flow.port);
                let socket = udp_socket(own)?;
                socket.set_nonblocking(true).context("a socket blocks")?;
                Means::Udp(socket)
            }
            Transport::Sctp => Means::Sctp(Raw::open(SCTP, flow.to.ip(), None)?),
            Transport::Tcp => Means::Tcp(None),
        };
        let tally = Tally {
            sent: 0,
            answered: 0,
            connections: 0,
            seen: BTreeMap::new(),
            longest_silence: Duration::ZERO,
            last: None,
        };
        Ok(Self { flow, means, tally })
    }

    /// A request that the kernel refuses (no route at present) counts as sent.
    fn send(&mut self) {
        self.tally.sent += 1;
        match &mut self.means {
            Means::Udp(socket) => {
                let _ = socket.send_to(b"?", self.flow.to);
            }
            Means::Sctp(raw) => {
                let _ = raw.send_init(self.flow.port, self.flow.to);
            }
            Means::Tcp(connection) => {
                if connection.as_ref().is_some_and(Connection::is_hopeless) {
                    *connection = None;
                }
                match connection {
                    None => *connection = Connection::open(self.flow),
                    Some(open) => open.ask(&mut self.tally),
                }
            }
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            let report = match &mut self.means {
                Means::Udp(socket) => socket.recv_from(&mut buffer).ok().map(|(length, _)| text(&buffer[..length])),
                Means::Sctp(raw) => {
                    let Some((bytes, from)) = raw.receive() else { return };
                    let Some(seen) = sctp_answer(self.flow, &bytes, from) else { continue };
                    Some(seen.to_string())
                }
                Means::Tcp(connection) => connection.as_mut().and_then(|open| open.read(&mut buffer)),
            };
            let Some(report) = report else { return };
            report.lines().filter_map(Seen::read).for_each(|seen| self.tally.answer(seen));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Tally {
    fn answer(&mut self, seen: Seen) {
        let now = Instant::now();
        self.answered += 1;
        *self.seen.entry(seen).or_default() += 1;
        self.longest_silence = self.longest_silence.max(self.last.map_or(Duration::ZERO, |last| now - last));
        self.last = Some(now);
    }
}

impl Connection {
    fn open(flow: Flow) -> Option<Self> {
        let socket = tcp_socket(flow).ok()?;
        socket.set_nonblocking(true).ok()?;
        // In progress; what becomes of it is seen when it is written to.
        let _ = socket.connect(&flow.to.into());
        Some(Self { socket, since: Instant::now(), is_open: false })
    }

    fn is_hopeless(&self) -> bool {
        let limit = if self.is_open { SILENCE } else { OPENING };
        self.since.elapsed() > limit
    }

    fn ask(&mut self, tally: &mut Tally) {
        if (&self.socket).write_all(b"?").is_ok() && !self.is_open {
            self.is_open = true;
            tally.connections += 1;
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Option<String> {
        match (&self.socket).read(buffer) {
            Ok(length) if length > 0 => {
                self.since = Instant::now();
                Some(text(&buffer[..length]))
            }
            // A broken connection is opened anew at the next request.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                self.since = Instant::now().checked_sub(SILENCE * 2).unwrap_or(self.since);
                None
            }
            _ => None,
        }
    }
}
