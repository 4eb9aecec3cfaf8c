//! The bytes of IPv6 and ICMPv6.
//!
//! Guarantees: hop limit 255, code 0 and a right checksum both ways. Leaves out: what the addresses mean.

use std::net::Ipv6Addr;

use super::{Discovery, Kind, OVERRIDE, ROUTER, SOLICITED};
use crate::announce::ethernet::{Header, Mac};

const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Proves that no router forwarded the packet (RFC 4861 section 7.1).
const HOP_LIMIT: u8 = 255;
/// Source and target link-layer address (RFC 4861 section 4.6.1).
const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;

pub(super) fn parse(header: Header, packet: &[u8]) -> Option<Discovery> {
    let (&[first, _, _, _, high, low, next, hops], rest) = packet.split_first_chunk()?;
    if first >> 4 != 6 || next != ICMPV6 || hops != HOP_LIMIT {
        return None;
    }
    let (source, rest) = address(rest)?;
    let (destination, rest) = address(rest)?;
    let icmp = rest.get(..usize::from(u16::from_be_bytes([high, low])))?;
    if checksum(source, destination, icmp) != 0 {
        return None;
    }
    let (&[kind, code, _, _, flags, _, _, _], rest) = icmp.split_first_chunk()?;
    let (kind, option) = match (kind, code) {
        (SOLICITATION, 0) => (Kind::Solicitation, SOURCE_LINK),
        (ADVERTISEMENT, 0) => (Kind::Advertisement(flags & (ROUTER | SOLICITED | OVERRIDE)), TARGET_LINK),
        _ => return None,
    };
    let (target, options) = address(rest)?;
    Some(Discovery { header, source, destination, kind, target, link: link(options, option)? })
}

pub(super) fn packet(discovery: &Discovery) -> Vec<u8> {
    let (kind, flags, option) = match discovery.kind {
        Kind::Solicitation => (SOLICITATION, 0, SOURCE_LINK),
        Kind::Advertisement(flags) => (ADVERTISEMENT, flags, TARGET_LINK),
    };
    let mut icmp = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    icmp.extend(discovery.target.octets());
    if let Some(mac) = discovery.link {
        icmp.extend([option, 1]);
        icmp.extend(mac.0);
    }
    let sum = checksum(discovery.source, discovery.destination, &icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let length = u16::try_from(icmp.len()).unwrap_or_default().to_be_bytes();
    let start = [0x60, 0, 0, 0, length[0], length[1], ICMPV6, HOP_LIMIT];
    let parts: [&[u8]; 4] = [&start, &discovery.source.octets(), &discovery.destination.octets(), &icmp];
    parts.concat()
}

fn address(bytes: &[u8]) -> Option<(Ipv6Addr, &[u8])> {
    let (address, rest) = bytes.split_first_chunk::<16>()?;
    Some((Ipv6Addr::from(*address), rest))
}

/// The link-layer address among the options; `None` for options that make the message invalid.
fn link(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let Some((&[kind, length], _)) = options.split_first_chunk() {
        let (option, rest) = options.split_at_checked(usize::from(length) * 8)?;
        let value = option.get(2..8)?;
        if kind == wanted && length == 1 {
            found = value.try_into().ok().map(Mac);
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}

/// RFC 4443 section 2.3 with the pseudo-header of RFC 8200 section 8.1; zero over a right message.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, icmp: &[u8]) -> u16 {
    let length = u32::try_from(icmp.len()).unwrap_or(u32::MAX).to_be_bytes();
    let pseudo: [&[u8]; 4] = [&source.octets(), &destination.octets(), &length, &[0, 0, 0, ICMPV6]];
    let mut sum = pseudo.iter().flat_map(|part| words(part)).chain(words(icmp)).sum::<u32>();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
}
