//! ARP over Ethernet for IPv4 (RFC 826, RFC 5227).
//!
//! Guarantees: no input panics; what is not Ethernet and IPv4, or comes from a group address, is not parsed. Leaves
//! out: who is asked and answered.

use std::net::Ipv4Addr;

use super::ethernet::{ARP, Header, Mac};

/// Hardware Ethernet, protocol IPv4, lengths 6 and 4.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0, 6, 4];

/// What an ARP packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target's address?
    Request,
    /// The sender has its address.
    Reply,
}

/// An address and who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// Link-layer address.
    pub mac: Mac,
    /// Protocol address; `0.0.0.0` for a sender that probes.
    pub address: Ipv4Addr,
}

/// An ARP packet and the header it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Header of the frame.
    pub header: Header,
    /// Request or reply.
    pub operation: Operation,
    /// Who sends.
    pub sender: Station,
    /// Who is asked or answered.
    pub target: Station,
}

impl Arp {
    /// Reads a frame.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (header, packet) = Header::split(frame, ARP)?;
        let rest = packet.strip_prefix(&ETHERNET_IPV4)?;
        let (operation, rest) = rest.split_first_chunk()?;
        let operation = match u16::from_be_bytes(*operation) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return None,
        };
        let (sender, rest) = station(rest)?;
        let (target, _) = station(rest)?;
        let is_sane = !sender.mac.is_group() && !header.source.is_group();
        is_sane.then_some(Self { header, operation, sender, target })
    }

    /// The frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let operation: [u8; 2] = match self.operation {
            Operation::Request => [0, 1],
            Operation::Reply => [0, 2],
        };
        let (sender, target) = (bytes(self.sender), bytes(self.target));
        let packet = [ETHERNET_IPV4.as_slice(), operation.as_slice(), sender.as_slice(), target.as_slice()].concat();
        self.header.frame(ARP, &packet)
    }

    /// A question to everybody (RFC 826). It also tells them where the sender is.
    #[must_use]
    pub fn question(sender: Station, target: Ipv4Addr) -> Self {
        Self {
            header: Header { destination: Mac::BROADCAST, source: sender.mac },
            operation: Operation::Request,
            sender,
            target: Station { mac: Mac::ZERO, address: target },
        }
    }

    /// Whether anybody has the address, without claiming it (RFC 5227 section 2.1.1).
    #[must_use]
    pub fn probe(mac: Mac, address: Ipv4Addr) -> Self {
        Self::question(Station { mac, address: Ipv4Addr::UNSPECIFIED }, address)
    }

    /// An announcement in the form of a request (RFC 5227 section 2.3).
    #[must_use]
    pub fn announcement(owner: Station) -> Self {
        Self::question(owner, owner.address)
    }

    /// An announcement in the form of a reply (RFC 5944 section 4.6), for those that do not heed the other one.
    #[must_use]
    pub fn unasked_reply(owner: Station) -> Self {
        let announcement = Self::announcement(owner);
        Self { operation: Operation::Reply, target: owner, ..announcement }
    }

    /// The answer to this question.
    #[must_use]
    pub fn reply(&self, owner: Mac) -> Self {
        Self {
            header: Header { destination: self.sender.mac, source: owner },
            operation: Operation::Reply,
            sender: Station { mac: owner, address: self.target.address },
            target: self.sender,
        }
    }
}

fn station(bytes: &[u8]) -> Option<(Station, &[u8])> {
    let (mac, rest) = bytes.split_first_chunk()?;
    let (address, rest) = rest.split_first_chunk::<4>()?;
    Some((Station { mac: Mac(*mac), address: Ipv4Addr::from(*address) }, rest))
}

fn bytes(station: Station) -> Vec<u8> {
    [station.mac.0.as_slice(), &station.address.octets()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Station = Station { mac: Mac([2, 0, 0, 0, 0, 1]), address: Ipv4Addr::new(192, 0, 2, 9) };
    const PEER: Station = Station { mac: Mac([2, 0, 0, 0, 0, 2]), address: Ipv4Addr::new(192, 0, 2, 2) };

    #[test]
    fn every_form_is_read_as_it_was_built() {
        let question = Arp::question(PEER, OWNER.address);
        for arp in [question, question.reply(OWNER.mac), Arp::probe(OWNER.mac, PEER.address)] {
            assert_eq!(Arp::parse(&arp.frame()), Some(arp));
        }
        for arp in [Arp::announcement(OWNER), Arp::unasked_reply(OWNER)] {
            assert_eq!(Arp::parse(&arp.frame()), Some(arp));
            assert_eq!((arp.sender.address, arp.header.destination), (arp.target.address, Mac::BROADCAST));
        }
    }

    #[test]
    fn a_question_has_the_bytes_of_rfc_826() {
        let frame = Arp::question(PEER, OWNER.address).frame();
        assert_eq!(frame[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(frame[22..], [2, 0, 0, 0, 0, 2, 192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 192, 0, 2, 9]);
    }

    #[test]
    fn a_reply_goes_to_who_asked() {
        let reply = Arp::question(PEER, OWNER.address).reply(OWNER.mac);
        assert_eq!((reply.header.destination, reply.target, reply.sender), (PEER.mac, PEER, OWNER));
    }

    #[test]
    fn short_and_odd_frames_are_not_read() {
        let frame = Arp::question(PEER, OWNER.address).frame();
        assert!((0..frame.len()).all(|length| Arp::parse(&frame[..length]).is_none()));
        let padded = [frame.as_slice(), &[0; 18]].concat();
        assert!(Arp::parse(&padded).is_some());
        for (place, value) in [(12, 0), (14, 6), (16, 0), (18, 8), (19, 16), (21, 3), (21, 0), (22, 1), (6, 1)] {
            let mut odd = frame.clone();
            odd[place] = value;
            assert_eq!(Arp::parse(&odd), None, "byte {place} = {value}");
        }
    }
}
