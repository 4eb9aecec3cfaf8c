//! Reading frames.
//!
//! Guarantees: any bytes give a packet or nothing. Leaves out: VLAN tags, and IPv6 extension headers other than
//! fragment and hop-by-hop, which no test sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Protocol numbers (IANA).
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMPv6.
pub const ICMPV6: u8 = 58;
/// SCTP.
pub const SCTP: u8 = 132;

const IPV6_HOP_BY_HOP: u8 = 0;
const IPV6_FRAGMENT: u8 = 44;
const ETHERNET: usize = 14;

/// What a packet says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: u8,
    /// Source port; 0 where there is none, and in later fragments.
    pub source_port: u16,
    /// Destination port, likewise.
    pub destination_port: u16,
    /// Type and code of ICMP.
    pub icmp: Option<(u8, u8)>,
    /// Flags of TCP (RFC 9293): 1 FIN, 2 SYN, 4 RST, 16 ACK; 0 for others.
    pub flags: u8,
    /// The packet an ICMP error is about.
    pub about: Option<Box<Packet>>,
    /// Whether it is one fragment of several.
    pub is_fragment: bool,
    /// Bytes after the transport header (after the ports for SCTP); shortened by the capture at most.
    pub payload: Vec<u8>,
}

/// The packet in an Ethernet frame.
#[must_use]
pub fn frame(bytes: &[u8]) -> Option<Packet> {
    let kind = [*bytes.get(12)?, *bytes.get(13)?];
    match kind {
        [0x08, 0x00] | [0x86, 0xdd] => packet(bytes.get(ETHERNET..)?),
        _ => None,
    }
}

/// The packet in these bytes, which start with an IP header.
#[must_use]
pub fn packet(bytes: &[u8]) -> Option<Packet> {
    match bytes.first()? >> 4 {
        4 => v4(bytes),
        6 => v6(bytes),
        _ => None,
    }
}

fn v4(bytes: &[u8]) -> Option<Packet> {
    let header = bytes.get(..20)?;
    let length = usize::from(header[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let address = |at: usize| IpAddr::V4(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]));
    let part = Part { protocol: header[9], offset: fragment & 0x1fff, is_fragment: fragment & 0x3fff != 0 };
    let end = if total < length { bytes.len() } else { total.min(bytes.len()) };
    Some(transport((address(12), address(16)), part, bytes.get(length..end)?))
}

fn v6(bytes: &[u8]) -> Option<Packet> {
    let header = bytes.get(..40)?;
    let address = |at: usize| -> Option<IpAddr> {
        Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(header.get(at..at + 16)?).ok()?)))
    };
    let end = (40 + usize::from(u16::from_be_bytes([header[4], header[5]]))).min(bytes.len());
    let (mut next, mut at) = (header[6], 40);
    let mut part = Part { protocol: next, offset: 0, is_fragment: false };
    while next == IPV6_HOP_BY_HOP || next == IPV6_FRAGMENT {
        let extension = bytes.get(at..at + 8)?;
        if next == IPV6_FRAGMENT {
            part.offset = u16::from_be_bytes([extension[2], extension[3]]) >> 3;
            part.is_fragment = true;
            at += 8;
        } else {
            at += 8 + usize::from(extension[1]) * 8;
        }
        next = extension[0];
    }
    part.protocol = next;
    Some(transport((address(8)?, address(24)?), part, bytes.get(at..end)?))
}

struct Part {
    protocol: u8,
    offset: u16,
    is_fragment: bool,
}

fn transport((source, destination): (IpAddr, IpAddr), part: Part, bytes: &[u8]) -> Packet {
    let word = |at: usize| bytes.get(at..at + 2).map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]));
    let is_first = part.offset == 0;
    let has_ports = is_first && [TCP, UDP, SCTP].contains(&part.protocol);
    let is_icmp = is_first && [ICMP, ICMPV6].contains(&part.protocol);
    let icmp = (is_icmp && bytes.len() >= 8).then(|| (bytes[0], bytes[1]));
    let is_error =
        icmp.is_some_and(|(kind, _)| if part.protocol == ICMP { [3, 11, 12].contains(&kind) } else { kind < 128 });
    let skip = match part.protocol {
        _ if !is_first => 0,
        TCP => usize::from(bytes.get(12).copied().unwrap_or(0) >> 4) * 4,
        UDP | ICMP | ICMPV6 => 8,
        SCTP => 4,
        _ => 0,
    };
    Packet {
        source,
        destination,
        protocol: part.protocol,
        source_port: if has_ports { word(0) } else { 0 },
        destination_port: if has_ports { word(2) } else { 0 },
        icmp,
        flags: if is_first && part.protocol == TCP { bytes.get(13).copied().unwrap_or(0) } else { 0 },
        about: if is_error { bytes.get(8..).and_then(packet).map(Box::new) } else { None },
        is_fragment: part.is_fragment,
        payload: bytes.get(skip..).unwrap_or_default().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `10.244.1.2:5060 > 192.0.2.10:7000` UDP "hi", as `tcpdump -x` shows it.
    const UDP_HI: &[u8] = &[
        0x45, 0, 0, 30, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 244, 1, 2, 192, 0, 2, 10, 0x13, 0xc4, 0x1b, 0x58, 0, 10, 0, 0,
        b'h', b'i',
    ];

    #[test]
    fn ports_and_payload_are_read() {
        let seen = packet(UDP_HI).unwrap();
        assert_eq!((seen.source_port, seen.destination_port, seen.payload.as_slice()), (5060, 7000, b"hi".as_slice()));
        assert!(!seen.is_fragment);
    }

    #[test]
    fn an_icmp_error_names_the_packet_it_is_about() {
        let mut error =
            vec![0x45, 0, 0, 58, 0, 1, 0, 0, 64, 1, 0, 0, 192, 0, 2, 10, 10, 244, 1, 2, 3, 3, 0, 0, 0, 0, 0, 0];
        error.extend(UDP_HI);
        let seen = packet(&error).unwrap();
        assert_eq!((seen.icmp, seen.about.unwrap().source_port), (Some((3, 3)), 5060));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for length in 0..UDP_HI.len() {
            let _ = packet(&UDP_HI[..length]);
            let _ = frame(&UDP_HI[..length]);
        }
        assert_eq!(packet(&[0x65; 48]).map(|p| p.protocol), Some(0x65));
    }
}
