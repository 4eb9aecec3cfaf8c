//! Tracked connections of addresses, as the owner tells them to those who may own next.
//!
//! Guarantees: a connection names its path and its pod's node in words that hold on every node, not in the owner's
//! marks; what a peer says is bounded and refused when it makes no sense. Leaves out: reading and loading them (the
//! kernel's edge) and the way between nodes.
//!
//! The owner keeps a [`Mirror`] of its table and sends a whole picture, then every change. Whoever may own next keeps a
//! [`Replica`]. What packets do to a connection's remaining time is not told, so a new picture comes every
//! [`PICTURE`] milliseconds.

mod mirror;
mod store;
mod wire;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ids::Mask;
use crate::model::ObjectName;
use crate::state::{ConntrackEntry, Tuple};

pub use mirror::{Mirror, Paths};
pub use store::{Inheritance, Replica};
pub use wire::{CHANGES_MAX, Change, Malformed, Message, decode, encode};

/// Time between two pictures, in milliseconds.
pub const PICTURE: u64 = 20_000;
/// Connections that one node keeps of itself, or of all others.
pub const CONNECTIONS_MAX: usize = 200_000;
/// A loaded connection lives at least this long, in seconds: what refreshed it since the last picture is not known.
const LEAST: u32 = 30;

/// IANA protocol numbers of what is replicated.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// `ICMPv6`.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// How far a connection got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Progress {
    /// One side sent.
    Opened,
    /// Both sides sent.
    Answered,
    /// The kernel does not drop it early when its table is full.
    Assured,
}

/// What the kernel remembers of a protocol beside addresses and ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// Nothing; or it was not told.
    Plain,
    /// `TCP_CONNTRACK_*`.
    Tcp(u8),
    /// Association.
    Sctp {
        /// `SCTP_CONNTRACK_*`.
        state: u8,
        /// Verification tags of the original and the reply direction.
        tags: (u32, u32),
    },
}

/// Last state of either protocol that a kernel knows.
const STATE_MAX: u8 = 9;

/// A connection without its mark. Tuples of ICMP hold the identifier as source port, and type and code as the two bytes
/// of the destination port, as in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// First packet's direction, before any translation.
    pub original: Tuple,
    /// What answers look like.
    pub reply: Tuple,
    /// How far it got.
    pub progress: Progress,
    /// Remaining time in seconds when it was read.
    pub timeout: u32,
    /// The protocol's own.
    pub transport: Transport,
}

/// A connection as one node's kernel holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Everything but the mark.
    pub flow: Flow,
    /// Connection mark.
    pub mark: u32,
}

/// A path as all nodes call it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PathName {
    /// Whose address it is.
    pub service: ObjectName,
    /// By which route; without one, by the main table.
    pub route: Option<String>,
    /// Epoch of the owner's claim to the address.
    pub epoch: u64,
}

/// A connection as nodes tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Everything but the mark.
    pub flow: Flow,
    /// Place of its path in the list at the beginning of the picture.
    pub path: u16,
    /// Number of the pod's node; 0 = the owner's.
    pub node: u16,
}

/// From whom to whom an address went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Succession {
    /// Number of the node that owned.
    pub from: u16,
    /// Number of the node that owns.
    pub to: u16,
}

impl Tracked {
    /// Whether a connection that the kernel holds already, with one of the same tuples, is to go for this one: it belongs
    /// to the same path and was translated otherwise or not at all, or an outsider began it while nobody here served the
    /// address. A pod's connection that carries another path or none is the pod's present wish and stays.
    #[must_use]
    pub fn displaces(&self, present: &ConntrackEntry, path: Mask) -> bool {
        let flow = &self.flow;
        let is_same = addresses(&present.original) == addresses(&flow.original)
            && addresses(&present.reply) == addresses(&flow.reply);
        match present.mark & path.0 {
            0 => {
                let is_push = flow.reply.destination != flow.original.source
                    && addresses(&present.original) == addresses(&flow.reply);
                let is_call = flow.is_redirected() && addresses(&present.original) == addresses(&flow.original);
                is_push || is_call
            }
            carried => carried == self.mark & path.0 && !is_same,
        }
    }
}

fn addresses(tuple: &Tuple) -> (IpAddr, IpAddr) {
    (tuple.source, tuple.destination)
}

impl Flow {
    /// What answers would look like without any translation.
    #[must_use]
    pub fn plain_reply(&self) -> Tuple {
        let to = &self.original;
        let (source_port, destination_port) =
            if self.is_echo() { (to.source_port, answer_type(to)) } else { (to.destination_port, to.source_port) };
        Tuple { source: to.destination, destination: to.source, protocol: to.protocol, source_port, destination_port }
    }

    /// Address and port (identifier, for ICMP) that the opener has on the far side.
    #[must_use]
    pub fn seen_source(&self) -> (IpAddr, u16) {
        let port = if self.is_echo() { self.reply.source_port } else { self.reply.destination_port };
        (self.reply.destination, port)
    }

    /// Where packets of the opener really go; ICMP has no port there.
    #[must_use]
    pub fn real_destination(&self) -> (IpAddr, Option<u16>) {
        (self.reply.source, (!self.is_echo()).then_some(self.reply.source_port))
    }

    /// Whether it can be told and loaded: one family, one protocol, a state that belongs to it.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let (ask, answer) = (&self.original, &self.reply);
        let ends = [ask.source, ask.destination, answer.source, answer.destination];
        let fits = match (ask.protocol, self.transport) {
            (protocol::TCP, Transport::Tcp(state)) | (protocol::SCTP, Transport::Sctp { state, .. }) => {
                state <= STATE_MAX
            }
            (protocol::UDP, Transport::Plain) => true,
            (protocol::ICMP | protocol::ICMPV6, Transport::Plain) => {
                is_question(ask) && answer.destination_port == answer_type(ask)
            }
            _ => false,
        };
        let family_fits = match ask.protocol {
            protocol::ICMP => ask.source.is_ipv4(),
            protocol::ICMPV6 => ask.source.is_ipv6(),
            _ => true,
        };
        fits && family_fits
            && ask.protocol == answer.protocol
            && ends.iter().all(|end| end.is_ipv4() == ask.source.is_ipv4())
    }

    /// Whether it cannot be without its node: an inbound connection whose client stands behind the node's own address,
    /// to which the pod answers.
    fn is_tied(&self) -> bool {
        self.is_redirected() && self.reply.destination != self.original.source
    }

    /// Whether somebody else answers than was asked: a client's call to a Service.
    fn is_redirected(&self) -> bool {
        self.reply.source != self.original.destination
    }

    fn is_echo(&self) -> bool {
        matches!(self.original.protocol, protocol::ICMP | protocol::ICMPV6)
    }
}

/// Types of echo: question and answer.
const ECHO: [(u8, u8, u8); 2] = [(protocol::ICMP, 8, 0), (protocol::ICMPV6, 128, 129)];

fn is_question(tuple: &Tuple) -> bool {
    ECHO.iter().any(|(protocol, question, _)| {
        tuple.protocol == *protocol && tuple.destination_port.to_be_bytes() == [*question, 0]
    })
}

fn answer_type(question: &Tuple) -> u16 {
    let found = ECHO.iter().find(|(protocol, ..)| *protocol == question.protocol);
    found.map_or(0, |(_, _, answer)| u16::from_be_bytes([*answer, 0]))
}

impl Connection {
    /// Whether it is worth nothing without the owner that told of it: a client's datagrams to a pod beside that owner. Any
    /// other pod may answer the next one, while by TCP or SCTP it would only refuse it, and the owner may come back.
    #[must_use]
    pub fn is_better_begun_anew(&self) -> bool {
        self.node == 0 && self.flow.is_redirected() && self.flow.original.protocol == protocol::UDP
    }

    /// The connection as the new owner has to hold it, with the mark of the path there.
    ///
    /// A pod of the old owner was local to it and is not any more; one of the new owner becomes local.
    #[must_use]
    pub fn rewritten(&self, succession: Succession, (path_mark, node): (u32, Mask)) -> Tracked {
        let number = match self.node {
            0 => succession.from,
            other => other,
        };
        let number = if number == succession.to { 0 } else { number };
        let flow = Flow { timeout: self.flow.timeout.max(LEAST), ..self.flow };
        Tracked { flow, mark: path_mark | node.place(u32::from(number)) }
    }
}
