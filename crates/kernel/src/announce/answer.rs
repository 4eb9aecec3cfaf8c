//! What is said to a frame.
//!
//! Guarantees: only questions by others for owned addresses are answered, and only if the frame was sent to us or to
//! a group. Leaves out: sending.

use std::net::IpAddr;

use super::arp::{Arp, Operation};
use super::ethernet::{Header, Mac};
use super::ndp::{Discovery, Kind};

/// What follows from a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// This frame is to be sent.
    Answer(Vec<u8>),
    /// A neighbour answered a question that came from the owned address.
    Heard {
        /// The owned address.
        address: IpAddr,
        /// Who answered.
        neighbour: IpAddr,
        /// Its link-layer address.
        mac: Mac,
    },
}

/// To an ARP frame. An announcement by somebody else asks nothing.
pub(super) fn to_arp(frame: &[u8], own: Mac, is_owned: &dyn Fn(IpAddr) -> bool) -> Option<Reaction> {
    let arp = Arp::parse(frame).filter(|arp| is_for(&arp.header, own) && arp.sender.mac != own)?;
    let target = IpAddr::V4(arp.target.address);
    if !is_owned(target) || arp.sender.address == arp.target.address {
        return None;
    }
    Some(match arp.operation {
        Operation::Request => Reaction::Answer(arp.reply(own).frame()),
        Operation::Reply if arp.target.mac != own => return None,
        Operation::Reply => {
            Reaction::Heard { address: target, neighbour: arp.sender.address.into(), mac: arp.sender.mac }
        }
    })
}

/// To a frame of neighbour discovery.
pub(super) fn to_discovery(frame: &[u8], own: Mac, is_owned: &dyn Fn(IpAddr) -> bool) -> Option<Reaction> {
    let message =
        Discovery::parse(frame).filter(|message| is_for(&message.header, own) && message.link != Some(own))?;
    match message.kind {
        Kind::Solicitation if is_owned(message.target.into()) && message.source != message.target => {
            Some(Reaction::Answer(message.answer(own).frame()))
        }
        Kind::Advertisement(_) if is_owned(message.destination.into()) => Some(Reaction::Heard {
            address: message.destination.into(),
            neighbour: message.target.into(),
            mac: message.link.unwrap_or(message.header.source),
        }),
        _ => None,
    }
}

/// Sent by somebody else to us or to a group; a device in promiscuous mode shows us more than that.
fn is_for(header: &Header, own: Mac) -> bool {
    header.source != own && (header.destination == own || header.destination.is_group())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::announce::arp::Station;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const PEER: Station = Station { mac: Mac([2, 0, 0, 0, 0, 2]), address: Ipv4Addr::new(192, 0, 2, 2) };
    const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

    fn reaction(arp: Arp) -> Option<Reaction> {
        to_arp(&arp.frame(), OWN, &|address| address == IpAddr::V4(VIP))
    }

    fn discovery(message: Discovery) -> Option<Reaction> {
        to_discovery(&message.frame(), OWN, &|address| address == IpAddr::V6(vip()))
    }

    fn vip() -> std::net::Ipv6Addr {
        "2001:db8::9".parse().unwrap()
    }

    #[test]
    fn questions_and_probes_for_an_owned_address_are_answered() {
        for question in [Arp::question(PEER, VIP), Arp::probe(PEER.mac, VIP)] {
            assert_eq!(reaction(question), Some(Reaction::Answer(question.reply(OWN).frame())));
        }
        let peer = "2001:db8::2".parse().unwrap();
        for question in [Discovery::question(PEER.mac, peer, vip()), Discovery::probe(PEER.mac, vip())] {
            assert_eq!(discovery(question), Some(Reaction::Answer(question.answer(OWN).frame())));
        }
    }

    #[test]
    fn foreign_addresses_our_own_frames_and_announcements_are_not_answered() {
        let own = Station { mac: OWN, ..PEER };
        let elsewhere = Header { destination: Mac([2, 0, 0, 0, 0, 3]), source: PEER.mac };
        let thief = Station { mac: PEER.mac, address: VIP };
        let overheard = Arp { header: elsewhere, ..Arp::question(PEER, VIP) };
        let foreign = Arp::question(PEER, PEER.address);
        for arp in [foreign, Arp::question(own, VIP), overheard, Arp::announcement(thief), Arp::unasked_reply(thief)] {
            assert_eq!(reaction(arp), None, "{arp:?}");
        }
        let peer = "2001:db8::2".parse().unwrap();
        let question = Discovery::question(PEER.mac, peer, vip());
        let foreign = Discovery::question(PEER.mac, peer, peer);
        let ours = Discovery::question(OWN, peer, vip());
        let overheard = Discovery { header: elsewhere, ..question };
        for message in [foreign, ours, overheard, Discovery::announcement(PEER.mac, vip())] {
            assert_eq!(discovery(message), None, "{message:?}");
        }
    }

    #[test]
    fn an_answer_to_an_owned_address_is_heard() {
        let answer = Arp::question(Station { mac: OWN, address: VIP }, PEER.address).reply(PEER.mac);
        let heard = Reaction::Heard { address: VIP.into(), neighbour: PEER.address.into(), mac: PEER.mac };
        assert_eq!(reaction(answer), Some(heard));
        let to_another = Arp { target: Station { mac: PEER.mac, address: VIP }, ..answer };
        assert_eq!(reaction(to_another), None);
        let hop = "fe80::2".parse().unwrap();
        let heard = Reaction::Heard { address: vip().into(), neighbour: IpAddr::V6(hop), mac: PEER.mac };
        assert_eq!(discovery(Discovery::question(OWN, vip(), hop).answer(PEER.mac)), Some(heard));
    }
}
