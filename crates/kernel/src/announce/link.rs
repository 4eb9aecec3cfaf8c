//! Devices as packet sockets need them.
//!
//! Guarantees: what the kernel said when it was read. Leaves out: devices other than Ethernet; later changes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sys::socket::LinkAddr;
use sortie_core::model::DeviceName;

use super::ethernet::Mac;
use crate::KernelError;

/// A device that can carry frames of ours.
#[derive(Clone, Copy)]
pub(super) struct Link {
    /// Number of the device.
    pub(super) index: u32,
    /// Its own address.
    pub(super) mac: Mac,
    /// What a packet socket is bound to.
    pub(super) place: LinkAddr,
}

impl Link {
    /// Whether sockets and answers for one are right for the other.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.index, self.mac) == (other.index, other.mac)
    }
}

/// Every device of the namespace.
pub(super) struct Links(BTreeMap<String, LinkAddr>);

impl Links {
    pub(super) fn read() -> Result<Self, KernelError> {
        let all = getifaddrs().map_err(|errno| KernelError::System {
            operation: "list",
            object: "devices".into(),
            source: errno.into(),
        })?;
        let place = |address: nix::ifaddrs::InterfaceAddress| {
            let place = address.address.and_then(|address| address.as_link_addr().copied())?;
            Some((address.interface_name, place))
        };
        Ok(Self(all.filter_map(place).collect()))
    }

    /// A device by its present name.
    pub(super) fn find(&self, device: &DeviceName) -> Result<Link, KernelError> {
        let place = *self.0.get(&device.0).ok_or_else(|| refused("find device", device, libc::ENODEV))?;
        let index = u32::try_from(place.ifindex()).ok().filter(|_| place.hatype() == libc::ARPHRD_ETHER);
        match (index, place.addr()) {
            (Some(index), Some(mac)) => Ok(Link { index, mac: Mac(mac), place }),
            _ => Err(refused("answer ARP and NDP on", device, libc::EPROTONOSUPPORT)),
        }
    }
}

/// Link addresses of all Ethernet devices of the namespace, by which peers know this node on the wire.
///
/// # Errors
/// When the kernel does not list devices.
pub fn link_addresses() -> Result<BTreeSet<Mac>, KernelError> {
    let all = Links::read()?.0;
    let ethernet = all.into_values().filter(|place| place.hatype() == libc::ARPHRD_ETHER);
    Ok(ethernet.filter_map(|place| place.addr().map(Mac)).collect())
}

fn refused(operation: &'static str, device: &DeviceName, errno: i32) -> KernelError {
    KernelError::System { operation, object: device.to_string(), source: io::Error::from_raw_os_error(errno) }
}
