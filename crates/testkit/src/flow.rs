//! One flow of a test and what the far end says about it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::packet;

/// Transport protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP, by hand ([`crate::sctp`]).
    Sctp,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Its number (IANA).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => packet::TCP,
            Self::Udp => packet::UDP,
            Self::Sctp => packet::SCTP,
        }
    }

    /// Its name in annotations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Protocol.
    pub transport: Transport,
    /// Own port; 0 = the kernel's choice (not for SCTP).
    pub port: u16,
    /// Far end.
    pub to: SocketAddr,
}

impl Flow {
    /// TCP from a port.
    #[must_use]
    pub fn tcp(port: u16, to: SocketAddr) -> Self {
        Self { transport: Transport::Tcp, port, to }
    }

    /// UDP from a port.
    #[must_use]
    pub fn udp(port: u16, to: SocketAddr) -> Self {
        Self { transport: Transport::Udp, port, to }
    }

    /// SCTP from a port.
    #[must_use]
    pub fn sctp(port: u16, to: SocketAddr) -> Self {
        Self { transport: Transport::Sctp, port, to }
    }

    /// The unspecified address of its family.
    #[must_use]
    pub fn any(self) -> IpAddr {
        if self.to.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} to {}", self.transport.name(), self.port, self.to)
    }
}

/// What the far end says: the door a request came in by and its source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen {
    /// Label of the door: the router.
    pub door: String,
    /// Source of the request.
    pub source: SocketAddr,
}

impl Seen {
    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (door, source) = text.trim().split_once(' ')?;
        Some(Self { door: door.to_owned(), source: source.parse().ok()? })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.door, self.source)
    }
}
