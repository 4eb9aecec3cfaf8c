//! The other nodes, as far as packets leave by them.
//!
//! Guarantees: nothing leaves by another node before its kernel and ours can tell the packets apart. Leaves out: who owns
//! an address ([`super::addresses`]).

use std::collections::BTreeMap;
use std::net::IpAddr;

use sortie_core::desired::{Peering, Skeleton};
use sortie_core::steering::Peers;
use sortie_kernel::Platform;

use super::{Node, chain};
use crate::ownership::Dealings;

/// This node among others.
pub(super) struct Place {
    pub(super) number: u16,
    pub(super) address: IpAddr,
    /// Addresses of the others that have a number.
    pub(super) peers: BTreeMap<u16, IpAddr>,
    /// Numbers of all nodes that have one.
    pub(super) numbers: BTreeMap<String, u16>,
}

impl<P: Platform> Node<P> {
    /// Number and address of this node and the others; `None` while this one has no number or no other has.
    ///
    /// # Errors
    /// Numbers that cannot be, with the remedy.
    pub(super) fn place(&self) -> Result<Option<Place>, String> {
        let numbers = self.numbers()?;
        let me = &self.settings.node;
        let (Some(&number), Some(address)) = (numbers.get(me), self.address_of(me, None)) else { return Ok(None) };
        let peer = |(name, number): (&String, &u16)| Some((*number, self.address_of(name, Some(address))?));
        let peers: BTreeMap<_, _> = numbers.iter().filter(|(name, _)| *name != me).filter_map(peer).collect();
        Ok((!peers.is_empty()).then_some(Place { number, address, peers, numbers }))
    }

    /// Numbers of all nodes that have one.
    pub(super) fn numbers(&self) -> Result<BTreeMap<String, u16>, String> {
        let most = self.settings.numbers.node_mark.read(u32::MAX);
        let mut seen = BTreeMap::<u16, &String>::new();
        let numbered = || self.world.nodes.values().filter_map(|node| Some((&node.name, node.number?)));
        for (name, number) in numbered() {
            if let Some(other) = seen.insert(number, name) {
                return Err(format!(
                    "Nodes {other} and {name} have the same sortie.dev/node-number {number}: give each its own"
                ));
            }
            if u32::from(number) > most {
                return Err(format!(
                    "Node {name} has sortie.dev/node-number {number}: choose one up to {most} or widen --node-mark"
                ));
            }
        }
        Ok(numbered().map(|(name, number)| (name.clone(), number)).collect())
    }

    /// The node's first address, of the family of another one if need be.
    pub(super) fn address_of(&self, node: &str, like: Option<IpAddr>) -> Option<IpAddr> {
        let addresses = &self.world.nodes.get(node)?.addresses;
        addresses.iter().copied().find(|address| like.is_none_or(|like| like.is_ipv4() == address.is_ipv4()))
    }

    /// Asks the kernel once, when there are others.
    pub(super) async fn ask_carrier(&mut self) {
        if self.carrier.is_some() || !self.settings.has_peer_key || !matches!(self.place(), Ok(Some(_))) {
            return;
        }
        let answer = self.platform.can_address_frames().await.map_err(|error| chain(&error));
        if let Err(reason) = &answer {
            log::warn!("nothing leaves by other nodes reason=\"{reason}\"");
        }
        self.carrier = Some(answer);
    }

    /// The others, for the desired state.
    pub(super) fn peering(&self) -> Option<Peering> {
        let Some(Ok(())) = self.carrier else { return None };
        let Place { number, address, peers, .. } = self.place().ok().flatten()?;
        let before = self.skeleton.as_ref().map(|skeleton| skeleton.remote.clone()).unwrap_or_default();
        let peers = Peers { addresses: peers, offers: self.holdings.offers.clone(), owners: self.owners() };
        let passing = self.passing.difference(&self.owned).cloned().collect();
        Some(Peering { number, local: address, peers, before, passing })
    }

    /// What is owned now is about to be handed over: what others still send here for it then passes.
    pub(crate) fn let_pass(&mut self) {
        self.passing = self.owned.clone();
    }

    /// Others know the next owner.
    pub(crate) fn end_passage(&mut self) {
        self.passing.clear();
    }

    /// What this node does for others and wants from them, since the last reconcile.
    pub(crate) fn dealings(&self) -> Dealings {
        if !matches!(self.carrier, Some(Ok(()))) {
            return Dealings::default();
        }
        let offer = self.skeleton.as_ref().map(Skeleton::offer).unwrap_or_default();
        Dealings { offer, wanted: self.wanted.clone() }
    }
}
