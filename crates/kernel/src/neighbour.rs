//! Whether a next hop answers ARP (RFC 826) or neighbour discovery (RFC 4861).
//!
//! Guarantees: the kernel does the asking; traffic in flight is not disturbed by a probe. Leaves out: when to
//! probe and what follows from the answer.
//!
//! A probed entry that was reachable fails after three unanswered requests one second apart
//! (`net.ipv4.neigh.*.ucast_solicit`, `retrans_time_ms`), so failure is known about 3 s after it happened.

use std::net::IpAddr;

use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use nix::libc;
use sortie_core::model::DeviceName;

use crate::KernelError;
use crate::linux::links::Links;
use crate::netlink::message::flag;
use crate::netlink::{Connection, Refusal};

const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;

/// What the kernel knows of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// It answered lately, or needs no resolution on this device.
    Reachable,
    /// It is being asked, or nobody asked lately.
    Probing,
    /// It does not answer.
    Failed,
    /// The kernel knows nothing of it.
    Absent,
}

/// The neighbour tables of the network namespace it was opened in.
pub struct Neighbours {
    connection: Connection,
    links: Links,
}

impl Neighbours {
    /// Opens the sockets.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self { connection: Connection::route()?, links: Links::open()? })
    }

    /// Makes the kernel ask the next hop now; an answer or its absence shows later in [`Neighbours::state`].
    ///
    /// # Errors
    /// When the device is gone or the kernel refuses.
    pub fn probe(&mut self, device: &DeviceName, gateway: IpAddr) -> Result<(), KernelError> {
        let refused = |refusal: Refusal| refusal.about("probe neighbour", format!("{gateway} dev {device}"));
        let mut message = self.address(device, gateway)?;
        let (state, link_address) = self.entry(&message).map_err(refused)?;
        let flags = match (state, link_address) {
            (NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay, Some(link_address)) => {
                message.header.state = NeighbourState::Probe;
                message.attributes.push(NeighbourAttribute::LinkLayerAddress(link_address));
                flag::REPLACE
            }
            (NeighbourState::None | NeighbourState::Failed, _) => {
                message.header.flags = NeighbourFlags::Use;
                flag::CREATE
            }
            _ => return Ok(()),
        };
        self.connection.request(RTM_NEWNEIGH, flags, &emit(&message)).map_err(refused)
    }

    /// What the kernel knows.
    ///
    /// # Errors
    /// When the device is gone or the kernel cannot be read.
    pub fn state(&mut self, device: &DeviceName, gateway: IpAddr) -> Result<Neighbour, KernelError> {
        let message = self.address(device, gateway)?;
        let (state, _) = self
            .entry(&message)
            .map_err(|refusal| refusal.about("get neighbour", format!("{gateway} dev {device}")))?;
        Ok(match state {
            NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp => Neighbour::Reachable,
            NeighbourState::Failed => Neighbour::Failed,
            NeighbourState::None => Neighbour::Absent,
            _ => Neighbour::Probing,
        })
    }

    fn address(&mut self, device: &DeviceName, gateway: IpAddr) -> Result<NeighbourMessage, KernelError> {
        let names = self.links.names()?;
        let index = names.iter().find(|(_, name)| *name == device).map(|(index, _)| *index);
        let mut message = NeighbourMessage::default();
        message.header.family = if gateway.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.ifindex = index.ok_or_else(|| KernelError::System {
            operation: "find device",
            object: device.to_string(),
            source: std::io::Error::from_raw_os_error(libc::ENODEV),
        })?;
        message.attributes = vec![NeighbourAttribute::Destination(gateway.into())];
        Ok(message)
    }

    fn entry(&mut self, message: &NeighbourMessage) -> Result<(NeighbourState, Option<Vec<u8>>), Refusal> {
        let mut found = (NeighbourState::None, None);
        let answer = self.connection.query(RTM_GETNEIGH, &emit(message), |answer| {
            if let (RTM_NEWNEIGH, Ok(entry)) = (answer.header.kind, NeighbourMessage::parse(answer.body)) {
                found.0 = entry.header.state;
                found.1 = entry.attributes.into_iter().find_map(|attribute| match attribute {
                    NeighbourAttribute::LinkLayerAddress(address) => Some(address),
                    _ => None,
                });
            }
        });
        match answer {
            Err(refusal) if refusal.is(libc::ENOENT) => Ok(found),
            other => other.map(|()| found),
        }
    }
}

fn emit(message: &NeighbourMessage) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}
