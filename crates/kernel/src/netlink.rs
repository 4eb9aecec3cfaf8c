//! A blocking netlink connection.
//!
//! Guarantees: one request at a time, answers matched by sequence number, interrupted dumps repeated
//! (`NLM_F_DUMP_INTR`), the kernel's own words kept with every refusal. Leaves out: what the messages mean.

use std::io;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::KernelError;

pub(crate) mod attribute;
pub(crate) mod message;
pub(crate) mod nfgen;

use attribute::Attributes;
use message::{DONE, ERROR, Header, Message, Messages, flag};

/// Size of our socket buffers in bytes: a transaction of 10 000 set elements fits.
const SOCKET_BUFFER: usize = 4 << 20;
/// Larger than any datagram the kernel builds for a dump (32 KiB).
const DATAGRAM: usize = 64 << 10;
/// Dumps torn by concurrent changes are repeated this often.
const DUMP_ATTEMPTS: usize = 20;
/// The kernel answers in the system call itself; a missing answer is a fault, not a delay. Seconds.
const ANSWER_TIMEOUT: i64 = 10;

/// What the kernel said no to.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// errno.
    pub(crate) source: io::Error,
    /// Text of the extended acknowledgement, or empty.
    pub(crate) text: String,
}

impl Refusal {
    /// The refusal as an error about an object.
    pub(crate) fn about(self, operation: &'static str, object: impl Into<String>) -> KernelError {
        let mut object = object.into();
        if !self.text.is_empty() {
            object = format!("{object} (kernel: {})", self.text);
        }
        KernelError::Netlink { operation, object, source: self.source }
    }

    /// Whether the kernel was started without the address family (`ipv6.disable=1`): nothing is there then.
    pub(crate) fn is_missing_family(&self) -> bool {
        self.is(libc::EAFNOSUPPORT) || self.is(libc::EOPNOTSUPP)
    }

    /// Whether errno is `code`.
    pub(crate) fn is(&self, code: i32) -> bool {
        self.source.raw_os_error() == Some(code)
    }
}

impl From<io::Error> for Refusal {
    fn from(source: io::Error) -> Self {
        Self { source, text: String::new() }
    }
}

/// One netlink socket of the network namespace it was opened in.
pub(crate) struct Connection {
    socket: Socket,
    #[cfg_attr(not(feature = "async"), expect(dead_code, reason = "only watchers ask"))]
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Connection {
    /// For rules, routes, devices and neighbours.
    pub(crate) fn route() -> Result<Self, KernelError> {
        Self::open(NETLINK_ROUTE).map_err(|source| opening("route netlink socket", source))
    }

    /// For nftables and connection tracking, with room for long transactions; needs CAP_NET_ADMIN.
    pub(crate) fn netfilter() -> Result<Self, KernelError> {
        let enlarged = Self::open(NETLINK_NETFILTER).and_then(|connection| {
            setsockopt(&connection.socket, sockopt::SndBufForce, &SOCKET_BUFFER)?;
            setsockopt(&connection.socket, sockopt::RcvBufForce, &SOCKET_BUFFER)?;
            Ok(connection)
        });
        enlarged.map_err(|source| opening("netfilter netlink socket", source))
    }

    fn open(family: isize) -> io::Result<Self> {
        let mut socket = Socket::new(family)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        // Without the text, errno still tells; strict checking is what makes dump filters work.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_netlink_get_strict_chk(true);
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_TIMEOUT))?;
        Ok(Self { socket, port, sequence: 0, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// The socket's netlink port: notifications about our own requests carry it.
    #[cfg(feature = "async")]
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// A fresh sequence number.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }

    /// Sends one request and waits for its acknowledgement.
    pub(crate) fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<(), Refusal> {
        let sequence = self.send(kind, flags | flag::REQUEST | flag::ACK, body)?;
        self.until_acknowledged(sequence, |_| ()).map(drop)
    }

    /// Sends one request that is answered by messages; `each` sees them.
    pub(crate) fn query(&mut self, kind: u16, body: &[u8], each: impl FnMut(Message<'_>)) -> Result<(), Refusal> {
        let sequence = self.send(kind, flag::REQUEST | flag::ACK, body)?;
        self.until_acknowledged(sequence, each).map(drop)
    }

    /// Dumps, again and again until the kernel says that no concurrent change tore the dump.
    pub(crate) fn dump<T>(
        &mut self,
        kind: u16,
        body: &[u8],
        each: impl FnMut(Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        self.dump_parts(kind, body, each).map(|(found, _)| found)
    }

    /// Like [`Connection::dump`]; also tells in how many parts the dump came.
    pub(crate) fn dump_parts<T>(
        &mut self,
        kind: u16,
        body: &[u8],
        mut each: impl FnMut(Message<'_>) -> Option<T>,
    ) -> Result<(Vec<T>, usize), Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            let (mut found, mut torn) = (Vec::new(), false);
            let sequence = self.send(kind, flag::REQUEST | flag::DUMP, body)?;
            let parts = self.until_acknowledged(sequence, |message| {
                torn |= message.header.flags & flag::DUMP_INTR != 0;
                found.extend(each(message));
            })?;
            if !torn {
                return Ok((found, parts));
            }
        }
        Err(io::Error::from_raw_os_error(libc::EINTR).into())
    }

    /// Sends a datagram that already holds whole messages.
    pub(crate) fn send_datagram(&mut self, datagram: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send(datagram, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(drop),
            }
        }
    }

    /// Receives one datagram and shows its messages.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(Message<'_>)) -> io::Result<()> {
        let length = loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if length > self.buffer.len() {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        Messages::of(&self.buffer).for_each(&mut each);
        Ok(())
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<u32> {
        let sequence = self.next_sequence();
        let mut datagram = Vec::with_capacity(body.len() + 16);
        message::append(&mut datagram, Header { kind, flags, sequence, port: 0 }, body);
        self.send_datagram(&datagram)?;
        Ok(sequence)
    }

    /// Shows what is received up to the acknowledgement; returns how many datagrams held more than that.
    fn until_acknowledged(&mut self, sequence: u32, mut each: impl FnMut(Message<'_>)) -> Result<usize, Refusal> {
        let mut outcome = None;
        let mut parts = 0;
        while outcome.is_none() {
            let mut part = 0;
            self.receive(|message| {
                if message.header.sequence != sequence || outcome.is_some() {
                    return;
                }
                match message.header.kind {
                    ERROR | DONE => {
                        outcome = Some(result_of(&message));
                        each(Message { header: message.header, body: &[] });
                    }
                    _ => {
                        part = 1;
                        each(message);
                    }
                }
            })?;
            parts += part;
        }
        outcome.unwrap_or(Ok(())).map(|()| parts)
    }
}

fn opening(object: &str, source: io::Error) -> KernelError {
    KernelError::System { operation: "open", object: object.to_owned(), source }
}

/// What an `NLMSG_ERROR` or `NLMSG_DONE` says (`Documentation/userspace-api/netlink/intro.rst`).
pub(crate) fn result_of(message: &Message<'_>) -> Result<(), Refusal> {
    let code = message.body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    if code == 0 {
        return Ok(());
    }
    Err(Refusal { source: io::Error::from_raw_os_error(-code), text: extended_text(message).unwrap_or_default() })
}

/// `NLMSGERR_ATTR_MSG`, which follows the request (or only its header, when capped).
fn extended_text(message: &Message<'_>) -> Option<String> {
    const CAPPED: u16 = 0x100;
    const ACK_TLVS: u16 = 0x200;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    const REQUEST_HEADER: std::ops::Range<usize> = 4..20;
    if message.header.flags & ACK_TLVS == 0 {
        return None;
    }
    let offset = match message.header.kind {
        DONE => 4,
        _ if message.header.flags & CAPPED != 0 => REQUEST_HEADER.end,
        _ => {
            let length = message.body.get(REQUEST_HEADER)?.first_chunk().map(|b| u32::from_ne_bytes(*b))?;
            REQUEST_HEADER.start + (length as usize).next_multiple_of(4)
        }
    };
    Attributes::of(message.body.get(offset..)?).find(NLMSGERR_ATTR_MSG).map(attribute::text)
}
