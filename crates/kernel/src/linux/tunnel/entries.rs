//! Messages about neighbours and forwarding entries of the device (`linux/neighbour.h`).
//!
//! Guarantees: an entry in a form we never write is told apart from ours. Leaves out: sockets.

use std::net::IpAddr;

use nix::libc;
use sortie_core::ids::TUNNEL_GATEWAY_MAC;
use sortie_core::state::Mac;

use crate::netlink::attribute::{Attributes, Writer, ne32, octets};

/// `struct ndmsg`.
const HEADER: usize = 12;
const NUD_PERMANENT: u16 = 0x80;
const NTF_SELF: u8 = 0x02;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// `NDA_PORT`, `NDA_VNI`, `NDA_IFINDEX`, `NDA_SRC_VNI`, `NDA_NH_ID`: shown when they are not the device's own.
const FOREIGN: [u16; 5] = [6, 7, 8, 11, 13];

/// A forwarding entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) mac: Mac,
    /// `None` for a form we never write.
    pub(super) to: Option<IpAddr>,
}

/// A permanent neighbour with the gateway's link address.
pub(super) fn neighbour(index: u32, gateway: IpAddr) -> Vec<u8> {
    let mut body = Writer::after(&header(family(gateway), index, (NUD_PERMANENT, 0)));
    address(&mut body, gateway);
    body.bytes(NDA_LLADDR, &TUNNEL_GATEWAY_MAC);
    body.into_bytes()
}

/// Asks for one neighbour.
pub(super) fn question(index: u32, gateway: IpAddr) -> Vec<u8> {
    let mut body = Writer::after(&header(family(gateway), index, (0, 0)));
    address(&mut body, gateway);
    body.into_bytes()
}

/// Whether the neighbour is what [`neighbour`] made.
pub(super) fn is_gateway(body: &[u8]) -> bool {
    let link_address = body.get(HEADER..).and_then(|rest| Attributes::of(rest).find(NDA_LLADDR));
    state_and_flags(body) == Some((NUD_PERMANENT, 0)) && link_address == Some(&TUNNEL_GATEWAY_MAC)
}

/// Asks for all forwarding entries of a device.
pub(super) fn list(index: u32) -> Vec<u8> {
    header(bridge(), index, (0, 0)).to_vec()
}

/// A permanent entry.
pub(super) fn towards(index: u32, mac: Mac, to: IpAddr) -> Vec<u8> {
    let mut body = Writer::after(&header(bridge(), index, (NUD_PERMANENT, NTF_SELF)));
    body.bytes(NDA_LLADDR, &mac.0);
    address(&mut body, to);
    body.into_bytes()
}

/// Names all there is for a link address.
pub(super) fn named(index: u32, mac: Mac) -> Vec<u8> {
    let mut body = Writer::after(&header(bridge(), index, (0, NTF_SELF)));
    body.bytes(NDA_LLADDR, &mac.0);
    body.into_bytes()
}

/// An entry of this device in a message.
pub(super) fn read(body: &[u8], index: u32) -> Option<Entry> {
    if ne32(body.get(4..)?)? != index {
        return None;
    }
    let attributes = Attributes::of(body.get(HEADER..)?);
    let mac = Mac(*attributes.find(NDA_LLADDR)?.first_chunk()?);
    let is_ours = state_and_flags(body) == Some((NUD_PERMANENT, NTF_SELF))
        && FOREIGN.iter().all(|kind| attributes.find(*kind).is_none());
    let to = attributes.find(NDA_DST).filter(|_| is_ours).and_then(|bytes| match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        _ => bytes.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
    });
    Some(Entry { mac, to })
}

fn header(family: u8, index: u32, (state, flags): (u16, u8)) -> [u8; HEADER] {
    let ([a, b, c, d], [e, f]) = (index.to_ne_bytes(), state.to_ne_bytes());
    [family, 0, 0, 0, a, b, c, d, e, f, flags, 0]
}

fn state_and_flags(body: &[u8]) -> Option<(u16, u8)> {
    body.get(8..11).map(|bytes| (u16::from_ne_bytes([bytes[0], bytes[1]]), bytes[2]))
}

fn address(body: &mut Writer, address: IpAddr) {
    body.bytes(NDA_DST, &octets(address));
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { of(libc::AF_INET) } else { of(libc::AF_INET6) }
}

fn bridge() -> u8 {
    of(libc::AF_BRIDGE)
}

/// The field is one byte wide.
fn of(family: i32) -> u8 {
    u8::try_from(family).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 1, 2, 3, 4, 5]);

    #[test]
    fn an_entry_of_ours_is_read_back() {
        for to in ["192.0.2.1", "2001:db8::1"] {
            let to = to.parse().unwrap();
            assert_eq!(read(&towards(7, MAC, to), 7), Some(Entry { mac: MAC, to: Some(to) }));
        }
        assert_eq!(read(&towards(8, MAC, [192, 0, 2, 1].into()), 7), None, "of another device");
    }

    #[test]
    fn an_entry_in_another_form_leads_nowhere() {
        let foreign = Some(Entry { mac: MAC, to: None });
        let mut learned = towards(7, MAC, [192, 0, 2, 1].into());
        learned[8] = 0x02;
        assert_eq!(read(&learned, 7), foreign);
        for kind in FOREIGN {
            let mut body = Writer::after(&towards(7, MAC, [192, 0, 2, 1].into()));
            body.bytes(kind, &[0; 4]);
            assert_eq!(read(&body.into_bytes(), 7), foreign);
        }
    }

    #[test]
    fn only_a_permanent_neighbour_with_the_right_link_address_counts() {
        let gateway = IpAddr::from([169, 254, 73, 254]);
        let body = neighbour(7, gateway);
        assert!(is_gateway(&body) && !is_gateway(&question(7, gateway)));
        let mut stale = body.clone();
        stale[8] = 0x04;
        let mut other = body;
        *other.last_mut().unwrap() = 9;
        assert!(!is_gateway(&stale));
        let end = other.len();
        other[end - 4] = 9;
        assert!(!is_gateway(&other));
    }
}
