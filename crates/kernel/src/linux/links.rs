//! Devices and their addresses.
//!
//! Guarantees: names and numbers come from one fresh dump. Leaves out: everything about a device but its
//! name, number, state, packet size and addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use sortie_core::model::DeviceName;
use sortie_core::world::Device;

use crate::KernelError;
use crate::netlink::Connection;
use crate::netlink::attribute::{Attributes, Writer, ne32, text};
use crate::netlink::message::Message;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// `struct ifinfomsg`, `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// `IFF_UP | IFF_LOWER_UP`.
const UP: u32 = 0x1 | 0x1_0000;

/// Names by number.
pub(crate) type Names = BTreeMap<u32, DeviceName>;

/// Devices of the network namespace it was opened in.
pub(crate) struct Links {
    connection: Connection,
}

impl Links {
    pub(crate) fn open() -> Result<Self, KernelError> {
        Ok(Self { connection: Connection::route()? })
    }

    pub(crate) fn names(&mut self) -> Result<Names, KernelError> {
        Ok(self.links()?.into_iter().map(|(name, device)| (device.index, name)).collect())
    }

    pub(crate) fn devices(&mut self) -> Result<BTreeMap<DeviceName, Device>, KernelError> {
        let mut devices: BTreeMap<_, _> = self.links()?.into_iter().collect();
        let addresses = self
            .connection
            .dump(RTM_GETADDR, &[0; ADDRESS_HEADER], |message| address_of(&message))
            .map_err(|refusal| refusal.about("list", "addresses"))?;
        for (index, address) in addresses {
            if let Some(device) = devices.values_mut().find(|device| device.index == index) {
                device.addresses.push(address);
            }
        }
        devices.values_mut().for_each(|device| device.addresses.sort());
        Ok(devices)
    }

    fn links(&mut self) -> Result<Vec<(DeviceName, Device)>, KernelError> {
        let mut body = Writer::after(&[0; LINK_HEADER]);
        body.bytes(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
        self.connection
            .dump(RTM_GETLINK, &body.into_bytes(), |message| link_of(&message))
            .map_err(|refusal| refusal.about("list", "devices"))
    }
}

fn link_of(message: &Message<'_>) -> Option<(DeviceName, Device)> {
    let body = message.body;
    if message.header.kind != RTM_NEWLINK {
        return None;
    }
    let (index, flags) = (ne32(body.get(4..)?)?, ne32(body.get(8..)?)?);
    let attributes = Attributes::of(body.get(LINK_HEADER..)?);
    let name = attributes.find(IFLA_IFNAME).map(text)?;
    let mtu = attributes.find(IFLA_MTU).and_then(ne32)?;
    Some((DeviceName(name), Device { index, up: flags & UP == UP, mtu, addresses: Vec::new() }))
}

fn address_of(message: &Message<'_>) -> Option<(u32, IpNetwork)> {
    let body = message.body;
    if message.header.kind != RTM_NEWADDR {
        return None;
    }
    let (prefix, index) = (*body.get(1)?, ne32(body.get(4..)?)?);
    let attributes = Attributes::of(body.get(ADDRESS_HEADER..)?);
    // On a point-to-point device IFA_ADDRESS is the other end.
    let bytes = attributes.find(IFA_LOCAL).or_else(|| attributes.find(IFA_ADDRESS))?;
    let address = match bytes.len() {
        4 => IpAddr::from(*bytes.first_chunk::<4>()?),
        _ => IpAddr::from(*bytes.first_chunk::<16>()?),
    };
    Some((index, IpNetwork::new(address, prefix).ok()?))
}
