//! Connection-tracking entries as netlink writes them (`linux/netfilter/nfnetlink_conntrack.h`).
//!
//! Guarantees: reading never goes past the message; what is written holds the original tuple, so that it can create and
//! never flush. Leaves out: requests, and protocols that are not replicated.

use std::net::IpAddr;

use nix::libc;
use sortie_core::replica::{Flow, Progress, Tracked, Transport, protocol};
use sortie_core::state::Tuple;

use crate::netlink::attribute::{Attributes, Writer};
use crate::netlink::nfgen;

pub(super) const TUPLE_ORIGINAL: u16 = 1;
pub(super) const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOCOL_INFO: u16 = 4;
const NAT_SOURCE: u16 = 6;
const TIMEOUT: u16 = 7;
pub(super) const MARK: u16 = 8;
const NAT_DESTINATION: u16 = 13;
pub(super) const MARK_MASK: u16 = 21;

const TUPLE_IP: u16 = 1;
/// IPv4 and IPv6 variants.
const IP_SOURCE: (u16, u16) = (1, 3);
const IP_DESTINATION: (u16, u16) = (2, 4);
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// Identifier, type and code of ICMP and of ICMPv6.
const ICMP: [(u8, [u16; 3]); 2] = [(protocol::ICMP, [4, 5, 6]), (protocol::ICMPV6, [7, 8, 9])];

const INFO_TCP: u16 = 1;
const INFO_SCTP: u16 = 3;
const TCP_STATE: u16 = 1;
const TCP_FLAGS_ORIGINAL: u16 = 4;
const TCP_FLAGS_REPLY: u16 = 5;
/// `IP_CT_TCP_FLAG_BE_LIBERAL`, value and mask: the window is not known here.
const LIBERAL: [u8; 2] = [0x08, 0x08];
const SCTP_STATE: u16 = 1;
const SCTP_TAG_ORIGINAL: u16 = 2;
const SCTP_TAG_REPLY: u16 = 3;

/// First and last address of `CTA_NAT_SRC` and `CTA_NAT_DST`.
const NAT_ADDRESS: [(u16, u16); 2] = [(1, 4), (2, 5)];
const NAT_PROTOCOL: u16 = 3;
const NAT_PORTS: [u16; 2] = [1, 2];

/// `IPS_SEEN_REPLY`, `IPS_ASSURED`, `IPS_CONFIRMED`.
const SEEN_REPLY: u32 = 1 << 1;
const ASSURED: u32 = 1 << 2;
const CONFIRMED: u32 = 1 << 3;

/// The tuple in nested attributes; without ports, 0.
pub(super) fn tuple_of(tuple: Attributes<'_>) -> Option<Tuple> {
    let addresses = tuple.nested(TUPLE_IP)?;
    let nested = tuple.nested(TUPLE_PROTOCOL)?;
    let port = |kind| nested.find(kind).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_be_bytes(*b));
    Some(Tuple {
        source: address_of(addresses, IP_SOURCE)?,
        destination: address_of(addresses, IP_DESTINATION)?,
        protocol: *nested.find(PROTOCOL_NUMBER)?.first()?,
        source_port: port(SOURCE_PORT),
        destination_port: port(DESTINATION_PORT),
    })
}

fn address_of(addresses: Attributes<'_>, (v4, v6): (u16, u16)) -> Option<IpAddr> {
    let v4 = addresses.find(v4).and_then(|b| b.first_chunk::<4>()).map(|b| IpAddr::from(*b));
    v4.or_else(|| addresses.find(v6).and_then(|b| b.first_chunk::<16>()).map(|b| IpAddr::from(*b)))
}

/// The original tuple of a message, with what ICMP has instead of ports.
#[cfg(feature = "async")]
pub(crate) fn original(body: &[u8]) -> Option<Tuple> {
    full_tuple(nfgen::attributes(body).nested(TUPLE_ORIGINAL)?)
}

fn full_tuple(tuple: Attributes<'_>) -> Option<Tuple> {
    let plain = tuple_of(tuple)?;
    let Some((_, kinds)) = ICMP.iter().find(|(protocol, _)| *protocol == plain.protocol) else { return Some(plain) };
    let nested = tuple.nested(TUPLE_PROTOCOL)?;
    let [identifier, kind, code] = kinds.map(|kind| nested.find(kind));
    Some(Tuple {
        source_port: u16::from_be_bytes(*identifier?.first_chunk()?),
        destination_port: u16::from_be_bytes([*kind?.first()?, *code?.first()?]),
        ..plain
    })
}

/// The entry in a message; `None` when something that every entry has is missing.
pub(crate) fn read(body: &[u8]) -> Option<Tracked> {
    let attributes = nfgen::attributes(body);
    let status = attributes.be32(STATUS).unwrap_or(0);
    let flow = Flow {
        original: full_tuple(attributes.nested(TUPLE_ORIGINAL)?)?,
        reply: full_tuple(attributes.nested(TUPLE_REPLY)?)?,
        progress: match status {
            status if status & ASSURED != 0 => Progress::Assured,
            status if status & SEEN_REPLY != 0 => Progress::Answered,
            _ => Progress::Opened,
        },
        timeout: attributes.be32(TIMEOUT).unwrap_or(0),
        transport: attributes.nested(PROTOCOL_INFO).and_then(transport).unwrap_or(Transport::Plain),
    };
    Some(Tracked { flow, mark: attributes.be32(MARK).unwrap_or(0) })
}

fn transport(info: Attributes<'_>) -> Option<Transport> {
    if let Some(tcp) = info.nested(INFO_TCP) {
        return Some(Transport::Tcp(*tcp.find(TCP_STATE)?.first()?));
    }
    let sctp = info.nested(INFO_SCTP)?;
    let tags = (sctp.be32(SCTP_TAG_ORIGINAL)?, sctp.be32(SCTP_TAG_REPLY)?);
    Some(Transport::Sctp { state: *sctp.find(SCTP_STATE)?.first()?, tags })
}

/// The body of a request that creates the entry: with the plain inverse as reply tuple, which the kernel then
/// translates as told.
pub(super) fn write(tracked: &Tracked) -> Vec<u8> {
    let flow = &tracked.flow;
    let mut body = nfgen::body(family(&flow.original));
    body.nest(TUPLE_ORIGINAL, |w| write_tuple(w, &flow.original));
    body.nest(TUPLE_REPLY, |w| write_tuple(w, &flow.plain_reply()));
    body.be32(STATUS, CONFIRMED | status(flow.progress)).be32(TIMEOUT, flow.timeout).be32(MARK, tracked.mark);
    write_transport(&mut body, flow.transport);
    let (source, port) = flow.seen_source();
    body.nest(NAT_SOURCE, |w| write_nat(w, source, Some(port)));
    let (destination, port) = flow.real_destination();
    body.nest(NAT_DESTINATION, |w| write_nat(w, destination, port));
    body.into_bytes()
}

/// The body of a request that asks for the entry with this tuple in either direction.
pub(super) fn ask(tuple: &Tuple) -> Vec<u8> {
    let mut body = nfgen::body(family(tuple));
    body.nest(TUPLE_ORIGINAL, |w| write_tuple(w, tuple));
    body.into_bytes()
}

fn family(tuple: &Tuple) -> u8 {
    let family = if tuple.source.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or(nfgen::UNSPEC)
}

fn status(progress: Progress) -> u32 {
    match progress {
        Progress::Opened => 0,
        Progress::Answered => SEEN_REPLY,
        Progress::Assured => SEEN_REPLY | ASSURED,
    }
}

fn write_tuple(writer: &mut Writer, tuple: &Tuple) {
    writer.nest(TUPLE_IP, |w| {
        write_address(w, IP_SOURCE, tuple.source);
        write_address(w, IP_DESTINATION, tuple.destination);
    });
    let (first, second) = (tuple.source_port.to_be_bytes(), tuple.destination_port.to_be_bytes());
    writer.nest(TUPLE_PROTOCOL, |w| {
        w.bytes(PROTOCOL_NUMBER, &[tuple.protocol]);
        match ICMP.iter().find(|(protocol, _)| *protocol == tuple.protocol) {
            Some((_, [identifier, kind, code])) => {
                w.bytes(*identifier, &first).bytes(*kind, &second[..1]).bytes(*code, &second[1..]);
            }
            None => {
                w.bytes(SOURCE_PORT, &first).bytes(DESTINATION_PORT, &second);
            }
        }
    });
}

fn write_address(writer: &mut Writer, (v4, v6): (u16, u16), address: IpAddr) {
    match address {
        IpAddr::V4(address) => writer.bytes(v4, &address.octets()),
        IpAddr::V6(address) => writer.bytes(v6, &address.octets()),
    };
}

/// First and last are the same: no choice is left.
fn write_nat(writer: &mut Writer, address: IpAddr, port: Option<u16>) {
    NAT_ADDRESS.iter().for_each(|kinds| write_address(writer, *kinds, address));
    if let Some(port) = port {
        writer.nest(NAT_PROTOCOL, |w| {
            NAT_PORTS.iter().for_each(|kind| {
                w.bytes(*kind, &port.to_be_bytes());
            });
        });
    }
}

fn write_transport(writer: &mut Writer, transport: Transport) {
    match transport {
        Transport::Plain => {}
        Transport::Tcp(state) => {
            writer.nest(PROTOCOL_INFO, |w| {
                w.nest(INFO_TCP, |w| {
                    w.bytes(TCP_STATE, &[state]);
                    w.bytes(TCP_FLAGS_ORIGINAL, &LIBERAL).bytes(TCP_FLAGS_REPLY, &LIBERAL);
                });
            });
        }
        Transport::Sctp { state, tags } => {
            writer.nest(PROTOCOL_INFO, |w| {
                w.nest(INFO_SCTP, |w| {
                    w.bytes(SCTP_STATE, &[state]);
                    w.be32(SCTP_TAG_ORIGINAL, tags.0).be32(SCTP_TAG_REPLY, tags.1);
                });
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(protocol: u8, (source, first): (&str, u16), (destination, second): (&str, u16)) -> Tuple {
        let address = |text: &str| text.parse().unwrap();
        Tuple {
            source: address(source),
            destination: address(destination),
            protocol,
            source_port: first,
            destination_port: second,
        }
    }

    fn tracked(transport: Transport, original: Tuple, reply: Tuple) -> Tracked {
        let flow = Flow { original, reply, progress: Progress::Assured, timeout: 77, transport };
        Tracked { flow, mark: 0x0030_4200 }
    }

    #[test]
    fn what_is_written_is_read_back_without_its_translation() {
        let sctp = Transport::Sctp { state: 4, tags: (0xdead_beef, 7) };
        let cases = [
            tracked(
                Transport::Tcp(3),
                tuple(6, ("10.0.0.1", 1), ("192.0.2.1", 80)),
                tuple(6, ("192.0.2.1", 80), ("10.9.9.9", 2)),
            ),
            tracked(
                sctp,
                tuple(132, ("fd00::1", 1), ("2001:db8::1", 80)),
                tuple(132, ("2001:db8::1", 80), ("fd00::9", 1)),
            ),
            tracked(
                Transport::Plain,
                tuple(58, ("fd00::1", 9), ("2001:db8::1", 0x8000)),
                tuple(58, ("2001:db8::1", 10), ("fd00::9", 0x8100)),
            ),
        ];
        for written in cases {
            assert!(written.flow.is_sound());
            let expected = Flow { reply: written.flow.plain_reply(), ..written.flow };
            assert_eq!(read(&write(&written)), Some(Tracked { flow: expected, mark: written.mark }));
        }
    }

    #[test]
    fn a_truncated_message_is_no_entry() {
        let whole = write(&tracked(
            Transport::Plain,
            tuple(17, ("10.0.0.1", 1), ("192.0.2.1", 53)),
            tuple(17, ("192.0.2.1", 53), ("10.9.9.9", 1)),
        ));
        for length in 0..100 {
            assert_eq!(read(&whole[..length]), None, "{length} bytes");
        }
    }
}
