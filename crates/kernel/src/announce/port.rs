//! Packet sockets on one device (`packet(7)`).
//!
//! Guarantees: only frames of this device that others sent are received; a device that goes down leaves the sockets
//! usable for when it is up again. Leaves out: what frames mean.
//!
//! One socket for ARP and one for IPv6: a socket for everything would see, and slow down, every frame of the device
//! in both directions.

use std::io;
use std::os::fd::AsRawFd as _;

use nix::libc;
use nix::sys::socket::{LinkAddr, bind, recvfrom, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use sortie_core::model::DeviceName;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::ethernet::{self, Header, Mac};
use super::filter;
use super::link::Link;
use crate::KernelError;

/// Room for a frame; neighbour discovery and ARP are far smaller. Bytes.
pub(super) const FRAME: usize = 2048;
/// A burst of some thousand questions, in bytes of kernel memory.
const RECEIVE_BUFFER: usize = 4 << 20;
/// `PACKET_OUTGOING`.
const OUTGOING: u8 = 4;

/// Both sockets of a device.
pub(super) struct Port {
    pub(super) device: DeviceName,
    pub(super) link: Link,
    pub(super) arp: Channel,
    pub(super) discovery: Channel,
}

impl Port {
    /// Must be called inside a tokio runtime.
    pub(super) fn open(device: &DeviceName, link: Link) -> Result<Self, KernelError> {
        let failed =
            |source| KernelError::System { operation: "open packet socket", object: device.to_string(), source };
        let arp = Channel::open(&link, ethernet::ARP, &filter::arp()).map_err(failed)?;
        let discovery = Channel::open(&link, ethernet::IPV6, &filter::discovery()).map_err(failed)?;
        Ok(Self { device: device.clone(), link, arp, discovery })
    }

    pub(super) fn mac(&self) -> Mac {
        self.link.mac
    }

    /// Sends now or not at all.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        let channel = if Header::split(frame, ethernet::ARP).is_some() { &self.arp } else { &self.discovery };
        channel.send(frame)
    }
}

/// One socket.
pub(super) struct Channel {
    /// A packet socket. Tokio has no name for it; only what does not depend on the family is used.
    socket: UdpSocket,
    index: usize,
}

impl Channel {
    fn open(link: &Link, ethertype: u16, filter: &[SockFilter]) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(ethertype.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(protocol))?;
        socket.attach_filter(filter)?;
        // Without CAP_NET_ADMIN the default has to do.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
        // The protocol in the address is zero, which keeps the socket's.
        bind(socket.as_raw_fd(), &link.place)?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, index: link.place.ifindex() })
    }

    /// The next frame; zero bytes for one that is not for us. Dropping the future loses nothing.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.socket.readable().await?;
            match self.socket.try_io(Interest::READABLE, || self.take(buffer)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
    }

    /// Between its creation and its binding the socket hears every device.
    fn take(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, from) = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), buffer)?;
        let is_theirs = |from: LinkAddr| from.ifindex() == self.index && from.pkttype() != OUTGOING;
        Ok(if from.is_some_and(is_theirs) { length } else { 0 })
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        SockRef::from(&self.socket).send(frame).map(drop)
    }
}

/// The device is down or gone, which ends by itself or by being opened anew.
pub(super) fn is_away(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::ENODEV | libc::ENXIO))
}
