//! A server that answers with what it saw: by which door the request came, and from whom.
//!
//! Guarantees: answers over UDP, TCP and SCTP on each door; an answer leaves by the door of its request. Ends when
//! dropped.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use crate::flow::Seen;
use crate::net::Namespace;
use crate::packet::SCTP;
use crate::raw::Raw;
use crate::sctp;

/// How often the end is looked for.
const TICK: Duration = Duration::from_millis(50);

/// One place where requests come in.
#[derive(Clone, Debug)]
pub struct Door {
    /// What the answer calls it.
    pub label: String,
    /// Device it is limited to.
    pub device: Option<String>,
    /// Address and port.
    pub at: SocketAddr,
}

/// A running server.
#[derive(Debug)]
pub struct Echo {
    is_over: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Echo {
    /// Opens all doors; requests are answered from now on.
    ///
    /// # Errors
    /// When a port is taken or a device is not there.
    pub fn start(namespace: &Namespace, doors: &[Door]) -> Result<Self> {
        let served = namespace.with(|| doors.iter().map(Served::open).collect::<Result<Vec<_>>>())?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let server = std::thread::spawn(move || serve(&served, &over));
        Ok(Self { is_over, server: Some(server) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

struct Served {
    door: Door,
    udp: UdpSocket,
    tcp: TcpListener,
    sctp: Raw,
}

impl Served {
    fn open(door: &Door) -> Result<Self> {
        let device = door.device.as_deref();
        let udp = bound(Type::DGRAM, door)?;
        let tcp = bound(Type::STREAM, door)?;
        tcp.listen(128).context("cannot listen")?;
        let sctp = Raw::open(SCTP, door.at.ip(), device)?;
        if !door.at.ip().is_unspecified() {
            sctp.bind(door.at.ip())?;
        }
        Ok(Self { door: door.clone(), udp: udp.into(), tcp: tcp.into(), sctp })
    }

    fn answer(&self, over: &Arc<AtomicBool>) {
        let mut buffer = [0; 65_536];
        while let Ok((_, from)) = self.udp.recv_from(&mut buffer) {
            let _ = self.udp.send_to(self.report(from).as_bytes(), from);
        }
        while let Ok((stream, from)) = self.tcp.accept() {
            let (report, over) = (self.report(from), Arc::clone(over));
            std::thread::spawn(move || converse(&stream, &report, &over));
        }
        while let Some((packet, from)) = self.sctp.receive() {
            self.answer_init(&packet, from);
        }
    }

    fn answer_init(&self, packet: &[u8], from: IpAddr) {
        let asked = sctp::read_init(packet).filter(|(ports, _)| ports.destination == self.door.at.port());
        let Some((ports, tag)) = asked else { return };
        let report = self.report(SocketAddr::new(from, ports.source));
        let _ = self.sctp.send(&sctp::init_ack(ports, tag, &report), from);
    }

    fn report(&self, from: SocketAddr) -> String {
        let source = SocketAddr::new(from.ip().to_canonical(), from.port());
        Seen { door: self.door.label.clone(), source }.to_string()
    }
}

fn bound(kind: Type, door: &Door) -> Result<Socket> {
    let what = || format!("{kind:?} at {} on {:?}", door.at, door.device);
    let domain = if door.at.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, kind, None).with_context(what)?;
    socket.bind_device(door.device.as_deref().map(str::as_bytes)).with_context(what)?;
    socket.set_reuse_address(true).with_context(what)?;
    if door.at.is_ipv6() {
        socket.set_only_v6(true).with_context(what)?;
    }
    socket.bind(&door.at.into()).with_context(what)?;
    socket.set_nonblocking(true).with_context(what)?;
    Ok(socket)
}

fn serve(served: &[Served], over: &Arc<AtomicBool>) {
    let tick = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
    while !over.load(Ordering::Relaxed) {
        let mut ready: Vec<PollFd<'_>> = Vec::with_capacity(served.len() * 3);
        for one in served {
            let all = [one.udp.as_fd(), one.tcp.as_fd(), one.sctp.socket().as_fd()];
            ready.extend(all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
        let _ = poll(&mut ready, tick);
        let busy: Vec<bool> = ready.chunks(3).map(|three| three.iter().any(|fd| fd.any().unwrap_or(true))).collect();
        served.iter().zip(busy).filter(|(_, busy)| *busy).for_each(|(one, _)| one.answer(over));
    }
}

/// One line back for each piece that comes.
fn converse(mut stream: &TcpStream, report: &str, over: &AtomicBool) {
    let mut buffer = [0; 4096];
    if stream.set_nonblocking(false).is_err() || stream.set_read_timeout(Some(TICK)).is_err() {
        return;
    }
    while !over.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {
                if stream.write_all(format!("{report}\n").as_bytes()).is_err() {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}
