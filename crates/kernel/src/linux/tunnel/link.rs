//! Messages about the device itself (`linux/if_link.h`).
//!
//! Guarantees: what [`creation`] asks for is read back as an equal [`Shape`]. Leaves out: sockets.

use std::net::IpAddr;

use sortie_core::ids::{Numbers, TUNNEL_DEVICE};
use sortie_core::state::{Mac, Tunnel};

use crate::netlink::attribute::{Attributes, Writer, ne32};

/// `struct ifinfomsg`.
const HEADER: usize = 16;
const IFF_UP: u32 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VXLAN: &str = "vxlan";
/// `IFLA_VXLAN_*`.
const ID: u16 = 1;
const LINK: u16 = 3;
const LOCAL: u16 = 4;
const LEARNING: u16 = 7;
const PORT: u16 = 15;
const LOCAL6: u16 = 17;
/// Bytes; what does not fit into an outer packet is fragmented outside.
const MTU: u32 = 1500;

/// A device of our name.
pub(super) struct Link {
    pub(super) index: u32,
    /// Administratively.
    pub(super) is_up: bool,
    /// `None` when it is no VXLAN.
    pub(super) shape: Option<Shape>,
}

/// What cannot change in a device, or what we do not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) local: Option<IpAddr>,
    pub(super) mac: Mac,
    vni: u32,
    port: u16,
    mtu: u32,
    learning: u8,
    /// Device below; 0 = none.
    lower: u32,
}

impl Shape {
    pub(super) fn of(tunnel: &Tunnel, numbers: &Numbers) -> Self {
        let (vni, port) = (numbers.vni, numbers.tunnel_port);
        Self { local: Some(tunnel.local), mac: tunnel.mac, vni, port, mtu: MTU, learning: 0, lower: 0 }
    }

    fn read(attributes: Attributes<'_>, data: Attributes<'_>) -> Option<Self> {
        let number = |kind| data.find(kind).and_then(ne32).unwrap_or(0);
        let local4 = data.find(LOCAL).and_then(|bytes| bytes.first_chunk::<4>()).map(|bytes| IpAddr::from(*bytes));
        let local6 = data.find(LOCAL6).and_then(|bytes| bytes.first_chunk::<16>()).map(|bytes| IpAddr::from(*bytes));
        Some(Self {
            local: local4.or(local6),
            mac: Mac(*attributes.find(IFLA_ADDRESS)?.first_chunk()?),
            vni: number(ID),
            port: u16::from_be_bytes(*data.find(PORT)?.first_chunk()?),
            mtu: attributes.find(IFLA_MTU).and_then(ne32)?,
            learning: *data.find(LEARNING)?.first()?,
            lower: number(LINK),
        })
    }
}

/// Asks for the device of our name.
pub(super) fn request() -> Vec<u8> {
    let mut body = Writer::after(&[0; HEADER]);
    body.text(IFLA_IFNAME, TUNNEL_DEVICE);
    body.into_bytes()
}

pub(super) fn read(body: &[u8]) -> Option<Link> {
    let (index, flags) = (ne32(body.get(4..)?)?, ne32(body.get(8..)?)?);
    let attributes = Attributes::of(body.get(HEADER..)?);
    let info = attributes.nested(IFLA_LINKINFO);
    let is_vxlan = info.and_then(|info| info.text(IFLA_INFO_KIND)).is_some_and(|kind| kind == VXLAN);
    let data = info.filter(|_| is_vxlan).and_then(|info| info.nested(IFLA_INFO_DATA));
    Some(Link { index, is_up: flags & IFF_UP != 0, shape: data.and_then(|data| Shape::read(attributes, data)) })
}

pub(super) fn creation(shape: &Shape) -> Vec<u8> {
    let mut body = Writer::after(&[0; HEADER]);
    body.text(IFLA_IFNAME, TUNNEL_DEVICE).bytes(IFLA_ADDRESS, &shape.mac.0);
    body.bytes(IFLA_MTU, &shape.mtu.to_ne_bytes());
    body.nest(IFLA_LINKINFO, |info| {
        info.text(IFLA_INFO_KIND, VXLAN).nest(IFLA_INFO_DATA, |data| {
            data.bytes(ID, &shape.vni.to_ne_bytes()).bytes(PORT, &shape.port.to_be_bytes());
            data.bytes(LEARNING, &[shape.learning]);
            match shape.local {
                Some(IpAddr::V4(local)) => drop(data.bytes(LOCAL, &local.octets())),
                Some(IpAddr::V6(local)) => drop(data.bytes(LOCAL6, &local.octets())),
                None => {}
            }
        });
    });
    body.into_bytes()
}

/// Brings the device up.
pub(super) fn up(index: u32) -> Vec<u8> {
    header(index, IFF_UP)
}

/// Names the device.
pub(super) fn named(index: u32) -> Vec<u8> {
    header(index, 0)
}

/// `struct ifinfomsg` with flags to set.
fn header(index: u32, flags: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), flags.to_ne_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_back() {
        for local in ["192.0.2.1", "2001:db8::1"] {
            let tunnel = Tunnel { local: local.parse().unwrap(), mac: Mac([2, 1, 2, 3, 4, 5]), peers: [].into() };
            let shape = Shape::of(&tunnel, &Numbers::default());
            let link = read(&creation(&shape)).unwrap();
            assert_eq!((link.shape, link.is_up), (Some(shape), false));
        }
    }

    #[test]
    fn a_device_of_another_kind_has_no_shape() {
        let mut body = Writer::after(&up(7));
        body.bytes(IFLA_ADDRESS, &[2; 6]).nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "dummy");
        });
        let link = read(&body.into_bytes()).unwrap();
        assert_eq!((link.index, link.is_up, link.shape), (7, true, None));
    }
}
