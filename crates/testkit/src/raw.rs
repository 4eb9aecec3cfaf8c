//! Raw sockets: SCTP and ICMP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;

use anyhow::{Context, Result};
use nix::sys::socket::{SockaddrStorage, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use crate::packet;
use crate::sctp::{self, Ports};

/// A socket that sends and receives IP payloads of one protocol. It never blocks.
#[derive(Debug)]
pub struct Raw {
    socket: Socket,
    is_v4: bool,
    protocol: u8,
}

impl Raw {
    /// In the namespace of the calling thread; `device` limits it to one device, in both directions.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(protocol: u8, family: IpAddr, device: Option<&str>) -> Result<Self> {
        let domain = if family.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket =
            Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol)))).context("no raw socket")?;
        socket.bind_device(device.map(str::as_bytes)).context("cannot bind a raw socket to a device")?;
        socket.set_nonblocking(true).context("a raw socket blocks")?;
        Ok(Self { socket, is_v4: family.is_ipv4(), protocol })
    }

    /// Sends and receives as this address.
    ///
    /// # Errors
    /// When it is not one of ours.
    pub fn bind(&self, address: IpAddr) -> Result<()> {
        self.socket.bind(&SocketAddr::new(address, 0).into()).with_context(|| format!("cannot bind to {address}"))
    }

    /// Sends a payload.
    ///
    /// # Errors
    /// The kernel's, unreachable networks for example.
    pub fn send(&self, payload: &[u8], to: IpAddr) -> io::Result<()> {
        self.socket.send_to(payload, &SocketAddr::new(to, 0).into()).map(drop)
    }

    /// The next payload and its source, if one is there.
    pub fn receive(&self) -> Option<(Vec<u8>, IpAddr)> {
        let mut buffer = vec![0; 65_536];
        let (length, from) = recvfrom::<SockaddrStorage>(self.socket.as_raw_fd(), &mut buffer).ok()?;
        buffer.truncate(length);
        if !self.is_v4 {
            return Some((buffer, IpAddr::V6(from?.as_sockaddr_in6()?.ip())));
        }
        let header = usize::from(buffer.first()? & 15) * 4;
        Some((buffer.split_off(header.min(length)), IpAddr::V4(from?.as_sockaddr_in()?.ip())))
    }

    /// The socket, for waiting.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Sends an INIT.
    ///
    /// # Errors
    /// As [`Raw::send`].
    pub fn send_init(&self, from: u16, to: SocketAddr) -> io::Result<()> {
        let ports = Ports { source: from, destination: to.port() };
        self.send(&sctp::init(ports, u32::from(from) << 16 | u32::from(to.port())), to.ip())
    }

    /// Sends an echo request (RFC 792, RFC 4443).
    ///
    /// # Errors
    /// As [`Raw::send`].
    pub fn send_echo(&self, to: IpAddr, number: u16) -> io::Result<()> {
        let kind = if self.protocol == packet::ICMP { 8 } else { 128 };
        let mut echo = vec![kind, 0, 0, 0, 0x50, 0x0e];
        echo.extend(number.to_be_bytes());
        echo.extend(b"sortie echo");
        echo.push(0);
        // The kernel fills in the sum of ICMPv6.
        let sum = checksum(&echo).to_be_bytes();
        echo[2..4].copy_from_slice(&sum);
        self.send(&echo, to)
    }
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
