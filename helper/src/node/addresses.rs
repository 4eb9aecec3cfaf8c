//! Addresses of Services: who gets which, and what this node owns of them.
//!
//! Guarantees: what was given is on disk before it is used; addresses that several nodes could own are owned by the one
//! that [`crate::ownership`] chose. Leaves out: answering on the wire ([`crate::run`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sortie_core::address::{Given, give, held};
use sortie_core::candidates::{Answer, answering, candidates};
use sortie_core::desired::Lane;
use sortie_core::model::{ObjectName, Reason, Service};
use sortie_core::ownership::{Config, NodeNumber, Presence};
use sortie_core::selection::address_paths;
use sortie_core::world::{NodeFacts, World};
use sortie_ipc::AddressStatus;
use sortie_kernel::Platform;

use super::{Giver, Node, NodeError, chain};
use crate::ownership::{Holdings, Plan, Unit, identity};

impl<P: Platform> Node<P> {
    /// Addresses for the world just taken. What cannot be written is not given: after a restart it might be given to
    /// somebody else.
    pub(super) fn give_addresses(&mut self) {
        let given = match self.settings.giver {
            Giver::Here => {
                let (given, refused) = give(&self.given, &self.world);
                self.ungiven = refused;
                given
            }
            Giver::Leader => {
                let (full, refused) = give(&Given::new(), &self.world);
                (self.due, self.ungiven) = (differing(&self.world, &full), refused);
                held(&self.world)
            }
        };
        if given != self.given {
            match self.store.save_addresses(&given) {
                Ok(()) => self.given = given,
                Err(error) => log::error!("addresses cannot be written and are not given error={}", chain(&error)),
            }
        }
        for service in self.world.services.values_mut().filter(|service| service.is_ours()) {
            service.addresses = self.given.get(&service.name).cloned().unwrap_or_default();
        }
    }

    /// Services whose addresses this node owns: those it alone could, and those it was chosen for.
    pub(super) fn to_own(&self) -> BTreeSet<ObjectName> {
        let owner = |service: &&Service| self.sole_candidate(service).as_deref() == Some(&self.settings.node);
        let alone = self.with_addresses().filter(owner).map(|service| service.name.clone());
        alone.chain(self.leased()).collect()
    }

    /// Owned services that other nodes could own, too.
    pub(super) fn leased(&self) -> BTreeSet<ObjectName> {
        let held = |service: &&Service| self.holdings.held.contains_key(&service.name) && !self.is_alone(service);
        self.with_addresses().filter(held).map(|service| service.name.clone()).collect()
    }

    /// Takes what was decided among the nodes; what is no longer owned is no longer answered for from this moment.
    pub(crate) fn set_holdings(&mut self, holdings: Holdings) {
        self.holdings = holdings;
        let owned = self.to_own();
        let of_owned = |address| owned.iter().any(|name| self.given.get(name).is_some_and(|a| a.contains(address)));
        let kept = self.answering.iter().filter(|answer| of_owned(&answer.address)).cloned().collect();
        self.answering = kept;
    }

    /// Claims the kernel carries out since the last reconcile.
    pub(crate) fn claims(&self) -> BTreeMap<ObjectName, u64> {
        let programmed = |(service, _): &(&ObjectName, &u64)| self.owned.contains(*service);
        self.holdings.held.iter().filter(programmed).map(|(service, epoch)| (service.clone(), *epoch)).collect()
    }

    /// Reads the devices, before the first reconcile does.
    pub(crate) async fn learn_devices(&mut self) -> Result<(), NodeError> {
        self.devices = self.platform.facts().await?.devices;
        Ok(())
    }

    /// What this node could own beside others: its number and address among them, and the plan. `None` when there is no
    /// such thing.
    ///
    /// # Errors
    /// What is missing, with the remedy.
    pub(crate) fn ownership_plan(&self) -> Result<Option<(u16, IpAddr, Plan)>, String> {
        let shared: Vec<&Service> = self.with_addresses().filter(|service| self.is_shared(service)).collect();
        if shared.is_empty() {
            return Ok(None);
        }
        if !self.settings.has_peer_key {
            return Err("several nodes could own its addresses: give every helper the same --peer-key-file".to_owned());
        }
        let numbers = self.numbers()?;
        let me = *numbers.get(&self.settings.node).ok_or_else(|| self.missing(&self.settings.node))?;
        let own = self.address_of(&self.settings.node, None).ok_or_else(|| self.missing(&self.settings.node))?;
        let peer = |(name, number): (&String, &u16)| Some((*number, self.address_of(name, Some(own))?));
        let peers = numbers.iter().filter(|(name, _)| **name != self.settings.node).filter_map(peer).collect();
        let unit = |service: &&Service| Ok((identity(&service.name), self.unit(service, &numbers)?));
        let units = shared.iter().map(unit).collect::<Result<BTreeMap<_, _>, String>>()?;
        Ok(Some((me, own, Plan { peers, units })))
    }

    /// Whether this node and others could own the Service's addresses.
    fn is_shared(&self, service: &Service) -> bool {
        let nodes = candidates(&self.world, service);
        nodes.len() > 1 && nodes.contains(&self.settings.node)
    }

    fn is_alone(&self, service: &Service) -> bool {
        self.sole_candidate(service).is_some()
    }

    /// Numbers of all nodes that have one.
    fn numbers(&self) -> Result<BTreeMap<String, u16>, String> {
        let mut seen = BTreeMap::<u16, &String>::new();
        let numbered = || self.world.nodes.values().filter_map(|node| Some((&node.name, node.number?)));
        for (name, number) in numbered() {
            if let Some(other) = seen.insert(number, name) {
                return Err(format!(
                    "Nodes {other} and {name} have the same sortie.dev/node-number {number}: give each its own"
                ));
            }
        }
        Ok(numbered().map(|(name, number)| (name.clone(), number)).collect())
    }

    fn missing(&self, node: &str) -> String {
        format!("Node {node} lacks the annotation sortie.dev/node-number or an address: add them to its manifest")
    }

    /// The node's first address, of the family of another one if need be.
    fn address_of(&self, node: &str, like: Option<IpAddr>) -> Option<IpAddr> {
        let addresses = &self.world.nodes.get(node)?.addresses;
        addresses.iter().copied().find(|address| like.is_none_or(|like| like.is_ipv4() == address.is_ipv4()))
    }

    fn unit(&self, service: &Service, numbers: &BTreeMap<String, u16>) -> Result<Unit, String> {
        let number = |name: &String| numbers.get(name).map(|n| NodeNumber(*n)).ok_or_else(|| self.missing(name));
        let candidates = candidates(&self.world, service).iter().map(number).collect::<Result<_, _>>()?;
        let facts = NodeFacts { devices: self.devices.clone(), ..NodeFacts::default() };
        let answers = answering(&self.world, &facts, &[service.name.clone()].into());
        let is_up = |answer: &Answer| self.devices.get(&answer.device).is_some_and(|device| device.up);
        let presence = if answers.iter().any(is_up) && self.has_way(service) { Presence::Up } else { Presence::Down };
        Ok(Unit {
            service: service.name.clone(),
            config: Config { candidates, path: 0 },
            presence,
            places: answers.iter().map(|answer| (answer.device.clone(), answer.address)).collect(),
            hops: answers.iter().filter_map(|a| Some((a.device.clone(), a.next_hop?))).collect(),
        })
    }

    /// Whether every route of the Service can leave here by some next hop, as the last reconcile saw it.
    fn has_way(&self, service: &Service) -> bool {
        let Some(skeleton) = &self.skeleton else { return true };
        let paths = address_paths(&self.world);
        let of_service = paths.iter().filter(|path| path.service() == Some(&service.name));
        let mut exits = of_service.filter_map(|path| skeleton.exits.get(path.route()?));
        exits.all(|exit| exit.lanes.values().any(|lane| matches!(lane, Lane::Open(_))))
    }

    fn with_addresses(&self) -> impl Iterator<Item = &Service> {
        self.world.services.values().filter(|service| service.is_ours() && !service.addresses.is_empty())
    }

    /// The node that owns the Service's addresses because no other could. A node without manifest is alone.
    fn sole_candidate(&self, service: &Service) -> Option<String> {
        if self.world.nodes.is_empty() {
            return Some(self.settings.node.clone());
        }
        let mut nodes = candidates(&self.world, service).into_iter();
        nodes.next().filter(|_| nodes.next().is_none())
    }

    /// The node that owns the Service's addresses, if it is known.
    fn owner(&self, service: &Service) -> Option<String> {
        let chosen = || {
            let number = *self.holdings.owners.get(&service.name)?;
            self.world.nodes.values().find(|node| node.number == Some(number)).map(|node| node.name.clone())
        };
        self.sole_candidate(service).or_else(chosen)
    }

    pub(super) fn addresses(&self) -> Vec<AddressStatus> {
        let on = |service: &Service| {
            let answers = self.answering.iter().filter(|answer| service.addresses.contains(&answer.address));
            let devices: BTreeSet<String> = answers.map(|answer| answer.device.to_string()).collect();
            devices.into_iter().collect()
        };
        let status = |service: &Service| AddressStatus {
            service: service.name.to_string(),
            addresses: service.addresses.clone(),
            owner: self.owner(service),
            devices: on(service),
        };
        self.with_addresses().map(status).collect()
    }

    /// Conditions `Owned` of Services with addresses.
    pub(super) fn ownership(&self) -> impl Iterator<Item = String> {
        self.with_addresses().map(|service| {
            let (holds, reason, message) = self.owned_by(service);
            let holds = if holds { "True" } else { "False" };
            format!("Service {}: Owned={holds} {reason:?} {message}", service.name)
        })
    }

    fn owned_by(&self, service: &Service) -> (bool, Reason, String) {
        if self.holdings.conflicts.contains(&service.name) {
            let message =
                "a station that is no node of this cluster answers for its address: free the address or use another";
            return (false, Reason::AddressNotAllowed, message.to_owned());
        }
        let Some(node) = self.owner(service) else { return (false, Reason::NoExitNode, self.why_nobody(service)) };
        let answered = self.answering.iter().any(|answer| service.addresses.contains(&answer.address));
        if node == self.settings.node && !answered {
            let message =
                "no device of this node answers for its addresses: name one in spec.devices of the AddressPool";
            return (true, Reason::DeviceMissing, message.to_owned());
        }
        (true, Reason::Accepted, format!("by node {node}"))
    }

    fn why_nobody(&self, service: &Service) -> String {
        if candidates(&self.world, service).is_empty() {
            return "no node matches the selectors of its pools and routes".to_owned();
        }
        let none = || "no node that could own its addresses does at present".to_owned();
        self.ownership_plan().err().unwrap_or_else(none)
    }
}

/// What Services of our class should have, where their status says otherwise.
fn differing(world: &World, full: &Given) -> Given {
    let services = world.services.values().filter(|service| service.is_ours());
    let should = services.map(|service| (service, full.get(&service.name).cloned().unwrap_or_default()));
    should
        .filter(|(service, should)| service.addresses != *should)
        .map(|(s, should)| (s.name.clone(), should))
        .collect()
}
