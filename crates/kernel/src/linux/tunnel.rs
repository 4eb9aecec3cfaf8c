//! The VXLAN device between nodes, with its neighbours and its forwarding table (RFC 7348).
//!
//! Guarantees: a device in which anything differs from what we make never equals a wanted [`Tunnel`]; a change of peers
//! leaves the device and the other peers alone; a device of our name that is no VXLAN is never touched. Leaves out: the
//! nftables table that addresses the frames, and neighbours that no route of ours leads to.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use nix::libc;
use sortie_core::ids::{self, Numbers, TUNNEL_DEVICE};
use sortie_core::state::{Mac, Tunnel};

use super::switches;
use crate::KernelError;
use crate::netlink::message::{Message, flag};
use crate::netlink::{Connection, Refusal};

mod entries;
mod link;

use link::{Link, Shape};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
/// Settings of the device: no link-local address (`IN6_ADDR_GEN_MODE_NONE`), no router is listened to, and routes into it
/// are allowed where the node's default forbids IPv6.
const SETTINGS: [(&str, &str); 3] = [("disable_ipv6", "0"), ("addr_gen_mode", "1"), ("accept_ra", "0")];
/// Stands for the link address of a device that is not as it must be. No node has it.
const UNFIT: Mac = Mac([0; 6]);
/// Stands for the far end of an entry in a form we never write. No node has it.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The tunnel of the network namespace it was opened in.
pub(super) struct Tunnels {
    connection: Connection,
    numbers: Numbers,
}

impl Tunnels {
    pub(super) fn open(numbers: Numbers) -> Result<Self, KernelError> {
        Ok(Self { connection: Connection::route()?, numbers })
    }

    pub(super) fn port(&self) -> u32 {
        self.connection.port()
    }

    /// A VXLAN device of our name, whatever is wrong with it: it must be there to be removed.
    pub(super) fn observe(&mut self) -> Result<Option<Tunnel>, KernelError> {
        let Some(Link { index, is_up, shape: Some(shape) }) = self.link()? else { return Ok(None) };
        let entries = self.entries(index)?;
        let peers = entries.iter().map(|entry| (entry.mac, entry.to.unwrap_or(NOWHERE))).collect();
        let (local, mac) = (shape.local.unwrap_or(NOWHERE), shape.mac);
        let tunnel = Tunnel { local, mac, peers };
        let is_fit = is_up && shape == Shape::of(&tunnel, &self.numbers) && self.has_gateways(index)?;
        Ok(Some(if is_fit { tunnel } else { Tunnel { mac: UNFIT, ..tunnel } }))
    }

    pub(super) fn ensure(&mut self, tunnel: &Tunnel) -> Result<(), KernelError> {
        let wanted = Shape::of(tunnel, &self.numbers);
        let link = match self.link()? {
            Some(Link { shape: None, .. }) => return Err(foreign()),
            Some(link) if link.shape.as_ref() == Some(&wanted) => link,
            Some(link) => {
                replace(&link)?;
                self.create(&wanted)?
            }
            None => self.create(&wanted)?,
        };
        if !link.is_up {
            configure()?;
            self.connection.request(RTM_NEWLINK, 0, &link::up(link.index)).map_err(about("set up"))?;
        }
        for gateway in gateways() {
            let body = entries::neighbour(link.index, gateway);
            self.connection
                .request(RTM_NEWNEIGH, flag::CREATE | flag::REPLACE, &body)
                .map_err(|refusal| refusal.about("add neighbour", format!("{gateway} dev {TUNNEL_DEVICE}")))?;
        }
        self.forward(link.index, tunnel)
    }

    /// Absent is success, and what is no VXLAN is not ours.
    pub(super) fn remove(&mut self) -> Result<(), KernelError> {
        match self.link()? {
            Some(link) if link.shape.is_some() => delete(&mut self.connection, &link),
            _ => Ok(()),
        }
    }

    fn create(&mut self, shape: &Shape) -> Result<Link, KernelError> {
        self.connection
            .request(RTM_NEWLINK, flag::CREATE | flag::EXCL, &link::creation(shape))
            .map_err(about("create"))?;
        self.link()?.ok_or_else(|| about("find")(io::Error::from_raw_os_error(libc::ENODEV).into()))
    }

    fn link(&mut self) -> Result<Option<Link>, KernelError> {
        let mut found = None;
        let read = |message: Message<'_>| {
            if message.header.kind == RTM_NEWLINK {
                found = link::read(message.body);
            }
        };
        match self.connection.query(RTM_GETLINK, &link::request(), read) {
            Err(refusal) if refusal.is(libc::ENODEV) => Ok(None),
            other => other.map(|()| found).map_err(about("get")),
        }
    }

    fn has_gateways(&mut self, index: u32) -> Result<bool, KernelError> {
        for gateway in gateways() {
            let mut is_there = false;
            let read = |message: Message<'_>| {
                is_there |= message.header.kind == RTM_NEWNEIGH && entries::is_gateway(message.body);
            };
            match self.connection.query(RTM_GETNEIGH, &entries::question(index, gateway), read) {
                Err(refusal) if refusal.is(libc::ENOENT) => {}
                other => {
                    other
                        .map_err(|refusal| refusal.about("get neighbour", format!("{gateway} dev {TUNNEL_DEVICE}")))?;
                }
            }
            if !is_there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn entries(&mut self, index: u32) -> Result<Vec<entries::Entry>, KernelError> {
        let read = |message: Message<'_>| {
            (message.header.kind == RTM_NEWNEIGH).then(|| entries::read(message.body, index)).flatten()
        };
        self.connection.dump(RTM_GETNEIGH, &entries::list(index), read).map_err(about("list forwarding entries of"))
    }

    /// What is not wanted goes first; an address that moved is replaced in one request.
    fn forward(&mut self, index: u32, tunnel: &Tunnel) -> Result<(), KernelError> {
        let present = self.entries(index)?;
        let refused = |operation: &'static str, mac: Mac| {
            move |refusal: Refusal| refusal.about(operation, format!("{mac} dev {TUNNEL_DEVICE}"))
        };
        for entry in present.iter().filter(|entry| entry.to.is_none() || !tunnel.peers.contains_key(&entry.mac)) {
            match self.connection.request(RTM_DELNEIGH, 0, &entries::named(index, entry.mac)) {
                Err(refusal) if refusal.is(libc::ENOENT) => {}
                other => other.map_err(refused("delete forwarding entry", entry.mac))?,
            }
        }
        let is_new = |(mac, to): &(&Mac, &IpAddr)| !present.iter().any(|e| e.mac == **mac && e.to == Some(**to));
        for (mac, to) in tunnel.peers.iter().filter(is_new) {
            self.connection
                .request(RTM_NEWNEIGH, flag::CREATE | flag::REPLACE, &entries::towards(index, *mac, *to))
                .map_err(refused("add forwarding entry", *mac))?;
        }
        Ok(())
    }
}

fn gateways() -> [IpAddr; 2] {
    [ids::TUNNEL_GATEWAY4.into(), ids::TUNNEL_GATEWAY6.into()]
}

/// Routes, settings and hooks go with the device. Nobody would look at them again if this came from a socket that is
/// known as ours.
fn replace(link: &Link) -> Result<(), KernelError> {
    log::warn!("the tunnel's device is made anew, as it differs from what it must be device={TUNNEL_DEVICE}");
    delete(&mut Connection::route()?, link)
}

fn delete(connection: &mut Connection, link: &Link) -> Result<(), KernelError> {
    match connection.request(RTM_DELLINK, 0, &link::named(link.index)) {
        Err(refusal) if refusal.is(libc::ENODEV) => Ok(()),
        other => other.map_err(about("delete")),
    }
}

fn configure() -> Result<(), KernelError> {
    for (name, value) in SETTINGS {
        let path = switches::folder("ipv6/conf").join(TUNNEL_DEVICE).join(name);
        let error = |source| KernelError::System { operation: "write", object: path.display().to_string(), source };
        fs::write(&path, value).map_err(error)?;
    }
    Ok(())
}

fn about(operation: &'static str) -> impl Fn(Refusal) -> KernelError {
    move |refusal| refusal.about(operation, format!("device {TUNNEL_DEVICE}"))
}

fn foreign() -> KernelError {
    KernelError::Netlink {
        operation: "create",
        object: format!(
            "device {TUNNEL_DEVICE}: another device that is no VXLAN has this name; \
             rename it, or delete it with: ip link delete dev {TUNNEL_DEVICE}"
        ),
        source: io::Error::from_raw_os_error(libc::EEXIST),
    }
}
