//! Neighbour solicitations and advertisements (RFC 4861 sections 4.3, 4.4 and 7.1) over Ethernet (RFC 2464).
//!
//! Guarantees: no input panics; what section 7.1 tells to discard is not parsed. Leaves out: extension headers,
//! options other than the link-layer address, who is asked and answered.

use std::net::Ipv6Addr;

use super::ethernet::{Header, IPV6, Mac};

mod wire;

/// Everybody on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The sender is a router.
pub const ROUTER: u8 = 0x80;
/// Sent because of a solicitation.
pub const SOLICITED: u8 = 0x40;
/// Replaces what the receiver knew.
pub const OVERRIDE: u8 = 0x20;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who has the target?
    Solicitation,
    /// The sender has the target; with the flags [`ROUTER`], [`SOLICITED`], [`OVERRIDE`].
    Advertisement(u8),
}

/// A message and the headers it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Header of the frame.
    pub header: Header,
    /// IPv6 source; `::` for duplicate address detection.
    pub source: Ipv6Addr,
    /// IPv6 destination.
    pub destination: Ipv6Addr,
    /// Solicitation or advertisement.
    pub kind: Kind,
    /// Whom it is about.
    pub target: Ipv6Addr,
    /// Link-layer address of the sender (solicitation) or the target (advertisement).
    pub link: Option<Mac>,
}

/// The group that is asked for an address (RFC 4291 section 2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

impl Discovery {
    /// Reads a frame.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (header, packet) = Header::split(frame, IPV6)?;
        let discovery = wire::parse(header, packet)?;
        discovery.is_valid().then_some(discovery)
    }

    /// The frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        self.header.frame(IPV6, &wire::packet(self))
    }

    /// A question to the group of an address; it also tells them where the sender is.
    #[must_use]
    pub fn question(sender: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Self {
        let destination = solicited_node(target);
        Self {
            header: Header { destination: Mac::of_group(destination), source: sender },
            source,
            destination,
            kind: Kind::Solicitation,
            target,
            link: Some(sender),
        }
    }

    /// Whether anybody has the address, without claiming it (RFC 4862 section 5.4.2).
    #[must_use]
    pub fn probe(sender: Mac, address: Ipv6Addr) -> Self {
        Self { link: None, ..Self::question(sender, Ipv6Addr::UNSPECIFIED, address) }
    }

    /// An announcement to everybody (RFC 4861 section 7.2.6).
    #[must_use]
    pub fn announcement(owner: Mac, address: Ipv6Addr) -> Self {
        Self {
            header: Header { destination: Mac::of_group(ALL_NODES), source: owner },
            source: address,
            destination: ALL_NODES,
            kind: Kind::Advertisement(OVERRIDE),
            target: address,
            link: Some(owner),
        }
    }

    /// The answer to this question (RFC 4861 section 7.2.4): to everybody if the asker has no address yet.
    #[must_use]
    pub fn answer(&self, owner: Mac) -> Self {
        let announcement = Self::announcement(owner, self.target);
        if self.source.is_unspecified() {
            return announcement;
        }
        Self {
            header: Header { destination: self.link.unwrap_or(self.header.source), source: owner },
            destination: self.source,
            kind: Kind::Advertisement(SOLICITED | OVERRIDE),
            ..announcement
        }
    }

    /// RFC 4861 sections 7.1.1 and 7.1.2, as far as it concerns addresses and flags.
    fn is_valid(&self) -> bool {
        let from_groups = self.header.source.is_group() || self.link.is_some_and(Mac::is_group);
        if from_groups || self.target.is_multicast() || self.source.is_multicast() {
            return false;
        }
        match self.kind {
            Kind::Solicitation if self.source.is_unspecified() => {
                self.link.is_none() && self.destination == solicited_node(self.target)
            }
            Kind::Solicitation => true,
            Kind::Advertisement(flags) => !self.destination.is_multicast() || flags & SOLICITED == 0,
        }
    }
}

#[cfg(test)]
mod tests;
