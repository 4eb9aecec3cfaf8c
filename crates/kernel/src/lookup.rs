//! What the kernel would do with one packet: the question of `ip route get`.
//!
//! Guarantees: nothing is changed; the answer is that of the rules, tables, switches and source checks in force. Leaves
//! out: marks, which the caller says, and everything netfilter does.

use std::fmt;
use std::io;
use std::net::IpAddr;

use nix::libc;
use sortie_core::model::DeviceName;

use crate::KernelError;
use crate::linux::links::Links;
use crate::netlink::Connection;
use crate::netlink::attribute::{Attributes, Writer, ne32, octets};
use crate::netlink::message::Message;

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
/// `struct rtmsg`.
const HEADER: usize = 12;
/// `RTM_F_LOOKUP_TABLE`: the table in which it was found, not the one asked for.
const LOOKUP_TABLE: u32 = 0x1000;
/// `enum rtattr_type_t`.
mod attribute {
    pub(super) const DESTINATION: u16 = 1;
    pub(super) const SOURCE: u16 = 2;
    pub(super) const INCOMING: u16 = 3;
    pub(super) const OUTGOING: u16 = 4;
    pub(super) const GATEWAY: u16 = 5;
    pub(super) const TABLE: u16 = 15;
    pub(super) const MARK: u16 = 16;
    pub(super) const VIA: u16 = 18;
    pub(super) const PROTOCOL: u16 = 27;
    pub(super) const SOURCE_PORT: u16 = 28;
    pub(super) const DESTINATION_PORT: u16 = 29;
}
/// Transport protocols that the question may name (`rtm_getroute_parse_ip_proto`).
const ASKABLE: [u8; 4] = [1, 6, 17, 58];

/// A packet that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source.
    pub from: IpAddr,
    /// Destination, of the same family.
    pub to: IpAddr,
    /// Device it comes in by.
    pub incoming: DeviceName,
    /// Packet mark.
    pub mark: u32,
    /// Transport protocol.
    pub protocol: u8,
    /// Source and destination port; 0 = not said.
    pub ports: (u16, u16),
}

/// What the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is sent.
    Sent {
        /// Device.
        device: DeviceName,
        /// Gateway; nothing on the link.
        gateway: Option<IpAddr>,
        /// Table of the route.
        table: u32,
    },
    /// It is refused, with this errno.
    Refused(i32),
}

impl Answer {
    /// Whether the source check refused the packet (`rp_filter`): newer kernels say so with another errno.
    #[must_use]
    pub fn is_source_check(&self) -> bool {
        [libc::EXDEV, libc::EINVAL].map(Self::Refused).contains(self)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent { device, gateway, table } => {
                if let Some(gateway) = gateway {
                    write!(f, "via {gateway} ")?;
                }
                write!(f, "dev {device} table {table}")
            }
            Self::Refused(errno) => write!(f, "refused: {}", io::Error::from_raw_os_error(*errno)),
        }
    }
}

/// The packet in words of `ip route get`.
impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, incoming, mark, .. } = self;
        write!(f, "ip route get {to} from {from} iif {incoming} mark {mark:#x}")?;
        if let (Some(protocol), (source, destination)) = (self.asked_protocol(), self.ports) {
            write!(f, " ipproto {protocol}")?;
            for (word, port) in [("sport", source), ("dport", destination)].into_iter().filter(|(_, port)| *port != 0) {
                write!(f, " {word} {port}")?;
            }
        }
        Ok(())
    }
}

impl Packet {
    fn asked_protocol(&self) -> Option<u8> {
        Some(self.protocol).filter(|p| ASKABLE.contains(p))
    }

    fn has_ports(&self) -> bool {
        [6, 17].contains(&self.protocol)
    }
}

/// Asks the kernel of the network namespace it was opened in.
pub struct Lookup {
    connection: Connection,
    links: Links,
}

impl Lookup {
    /// Opens the sockets.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self { connection: Connection::route()?, links: Links::open()? })
    }

    /// The device by which an address is reached from the node itself.
    ///
    /// # Errors
    /// What the kernel answers, and an answer that cannot be read.
    pub fn towards(&mut self, to: IpAddr) -> Result<DeviceName, KernelError> {
        let mut body = Writer::after(&header(to, None));
        body.bytes(attribute::DESTINATION, &octets(to));
        match self.ask(&body.into_bytes(), to)? {
            Answer::Sent { device, .. } => Ok(device),
            Answer::Refused(errno) => Err(KernelError::Netlink {
                operation: "look up",
                object: to.to_string(),
                source: io::Error::from_raw_os_error(errno),
            }),
        }
    }

    /// What happens to a packet that comes in.
    ///
    /// # Errors
    /// When the device is not there, and an answer that cannot be read.
    pub fn forward(&mut self, packet: &Packet) -> Result<Answer, KernelError> {
        let names = self.links.names()?;
        let incoming = names.iter().find(|(_, name)| **name == packet.incoming).map(|(index, _)| *index);
        let Some(incoming) = incoming else {
            return Err(KernelError::Netlink {
                operation: "look up",
                object: format!("{} (no device {})", packet.to, packet.incoming),
                source: io::Error::from_raw_os_error(libc::ENODEV),
            });
        };
        let mut body = Writer::after(&header(packet.to, Some(packet.from)));
        body.bytes(attribute::DESTINATION, &octets(packet.to)).bytes(attribute::SOURCE, &octets(packet.from));
        body.bytes(attribute::INCOMING, &incoming.to_ne_bytes());
        if packet.mark != 0 {
            body.bytes(attribute::MARK, &packet.mark.to_ne_bytes());
        }
        if let Some(protocol) = packet.asked_protocol() {
            body.bytes(attribute::PROTOCOL, &[protocol]);
        }
        let ports = [(attribute::SOURCE_PORT, packet.ports.0), (attribute::DESTINATION_PORT, packet.ports.1)];
        for (kind, port) in ports.into_iter().filter(|(_, port)| packet.has_ports() && *port != 0) {
            body.bytes(kind, &port.to_be_bytes());
        }
        self.ask(&body.into_bytes(), packet.to)
    }

    fn ask(&mut self, body: &[u8], to: IpAddr) -> Result<Answer, KernelError> {
        let mut found = None;
        let outcome = self.connection.query(RTM_GETROUTE, body, |message| found = found.take().or(way_of(&message)));
        let names = self.links.names()?;
        match (outcome, found) {
            (Err(refusal), _) => {
                let errno = refusal.source.raw_os_error();
                errno.map(Answer::Refused).ok_or_else(|| refusal.about("look up", to.to_string()))
            }
            (Ok(()), Some((index, gateway, table))) => {
                let device = names.get(&index).cloned().unwrap_or_else(|| DeviceName(index.to_string()));
                Ok(Answer::Sent { device, gateway, table })
            }
            (Ok(()), None) => {
                Err(KernelError::Answer { operation: "look up", detail: format!("no route in the answer for {to}") })
            }
        }
    }
}

/// `struct rtmsg` of a question.
fn header(to: IpAddr, from: Option<IpAddr>) -> [u8; HEADER] {
    let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut header = [0; HEADER];
    header[0] = u8::try_from(family).unwrap_or_default();
    header[1] = bits(to);
    header[2] = from.map(bits).unwrap_or_default();
    // IPv6 tells the table unasked, and takes no other flag.
    let flags = if to.is_ipv4() { LOOKUP_TABLE } else { 0 };
    header[8..].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// Outgoing device, gateway and table.
fn way_of(message: &Message<'_>) -> Option<(u32, Option<IpAddr>, u32)> {
    if message.header.kind != RTM_NEWROUTE {
        return None;
    }
    let attributes = Attributes::of(message.body.get(HEADER..)?);
    let device = attributes.find(attribute::OUTGOING).and_then(ne32)?;
    // Behind two bytes of its family.
    let other = || attributes.find(attribute::VIA).and_then(|via| address(via.get(2..)?));
    let gateway = attributes.find(attribute::GATEWAY).and_then(address).or_else(other);
    let table = attributes.find(attribute::TABLE).and_then(ne32)?;
    Some((device, gateway, table))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        _ => bytes.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
    }
}
