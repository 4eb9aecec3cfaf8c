//! Addresses of Services: who gets which, and what this node owns of them.
//!
//! Guarantees: what was given is on disk before it is used; addresses that several nodes could own are owned by the one
//! that [`crate::ownership`] chose. Leaves out: answering on the wire ([`crate::run`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sortie_core::address::{Given, give, held};
use sortie_core::allocation::Giver;
use sortie_core::candidates::{Answer, answering, answers_of};
use sortie_core::desired::Exit;
use sortie_core::model::{ObjectName, Reason, Service};
use sortie_core::ownership::{Config, NodeNumber, Presence};
use sortie_core::replica::PathName;
use sortie_core::selection::PathKey;
use sortie_core::world::{NodeFacts, World};
use sortie_ipc::AddressStatus;
use sortie_kernel::Platform;

use super::peering::Place;
use super::{Node, NodeError, chain};
use crate::ownership::{Holdings, Plan, Unit, identity};
use crate::presence::Shown;
use crate::replication::{Part, Replication};

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
            Giver::Cluster => {
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

    /// What this node answers for that owns what it owns, and devices on which it could have to at any moment, as others
    /// could for the same addresses.
    pub(super) fn show(&self, facts: &NodeFacts) -> Shown {
        let mut shown = Shown::default();
        for service in self.with_addresses() {
            let (is_owned, is_shared) = (self.owned.contains(&service.name), self.is_shared(service));
            if !is_owned && !is_shared {
                continue;
            }
            for answer in answering(&self.world, &self.candidates, (facts, service)) {
                if is_shared && !shown.ready.contains(&answer.device) {
                    shown.ready.insert(answer.device.clone());
                }
                if is_owned {
                    shown.answers.insert(answer);
                }
            }
        }
        shown
    }

    /// Nodes that own addresses, but this one.
    pub(super) fn owners(&self) -> BTreeMap<ObjectName, u16> {
        let number = |service: &Service| {
            let sole = self.sole_candidate(service).and_then(|name| self.world.nodes.get(&name)?.number);
            sole.or_else(|| self.holdings.owners.get(&service.name).copied())
        };
        let others = self.with_addresses().filter(|service| !self.owned.contains(&service.name));
        others.filter_map(|service| Some((service.name.clone(), number(service)?))).collect()
    }

    /// Takes what was decided among the nodes; what is no longer owned is no longer answered for from this moment.
    pub(crate) fn set_holdings(&mut self, holdings: Holdings) {
        self.holdings = holdings;
        let owned = self.to_own();
        let addresses: BTreeSet<&IpAddr> = owned.iter().filter_map(|name| self.given.get(name)).flatten().collect();
        self.shown.answers.retain(|answer| addresses.contains(&answer.address));
    }

    /// Claims the kernel carries out since the last reconcile.
    pub(crate) fn claims(&self) -> BTreeMap<ObjectName, u64> {
        let programmed = self.holdings.held.iter().filter(|(service, _)| self.owned.contains(*service));
        programmed.map(|(service, holding)| (service.clone(), holding.epoch)).collect()
    }

    /// Connections of addresses are told and taken over from now on.
    pub(crate) fn replicate(&mut self, replication: Replication) {
        self.replication = Some(replication);
    }

    pub(crate) fn replication(&self) -> Option<&Replication> {
        self.replication.as_ref()
    }

    /// What connections are told of and kept for.
    pub(super) fn part(&self) -> Part {
        let claims = self.claims();
        let name = |(path, number): (&PathKey, &u16)| {
            let service = path.service()?.clone();
            let epoch = *claims.get(&service)?;
            let name = PathName { service, route: path.route().map(str::to_owned), epoch };
            Some((self.settings.numbers.ct_mark.place(u32::from(*number)), name))
        };
        let shared = self.with_addresses().filter(|service| self.is_shared(service));
        Part {
            owned: self.allocation.paths.iter().filter_map(name).collect(),
            services: shared.map(|service| service.name.clone()).collect(),
        }
    }

    /// Reads the devices, before the first reconcile does.
    pub(crate) async fn learn_devices(&mut self) -> Result<(), NodeError> {
        self.devices = self.platform.facts().await?.devices;
        Ok(())
    }

    /// What this node could own beside others: its number and address among them, and the plan. `None` when nobody is
    /// beside it, or nothing can be said to them.
    pub(crate) fn ownership_plan(&self) -> Option<(u16, IpAddr, Plan)> {
        if !self.settings.has_peer_key {
            return None;
        }
        let Place { number, address, peers, numbers } = self.place().ok().flatten()?;
        let shared = self.with_addresses().filter(|service| self.is_shared(service));
        let unit = |service: &Service| Some((identity(&service.name), self.unit(service, &numbers).ok()?));
        Some((number, address, Plan { peers, units: shared.filter_map(unit).collect() }))
    }

    /// Whether this node and others could own the Service's addresses.
    fn is_shared(&self, service: &Service) -> bool {
        let nodes = self.candidates.nodes(&service.name);
        nodes.len() > 1 && nodes.contains(&self.settings.node)
    }

    fn is_alone(&self, service: &Service) -> bool {
        self.sole_candidate(service).is_some()
    }

    fn missing(&self, node: &str) -> String {
        format!("Node {node} lacks the annotation sortie.dev/node-number or an address: add them to its manifest")
    }

    fn unit(&self, service: &Service, numbers: &BTreeMap<String, u16>) -> Result<Unit, String> {
        let number = |name: &String| numbers.get(name).map(|n| NodeNumber(*n)).ok_or_else(|| self.missing(name));
        let candidates = self.candidates.nodes(&service.name).iter().map(number).collect::<Result<_, _>>()?;
        let facts = NodeFacts { devices: self.devices.clone(), ..NodeFacts::default() };
        let answers = answering(&self.world, &self.candidates, (&facts, service));
        let is_up = |answer: &Answer| self.devices.get(&answer.device).is_some_and(|device| device.up);
        let presence = if answers.iter().any(is_up) && self.has_way(service) { Presence::Up } else { Presence::Down };
        Ok(Unit {
            service: service.name.clone(),
            config: Config { candidates },
            presence,
            places: answers.iter().map(|answer| (answer.device.clone(), answer.address)).collect(),
            hops: answers.iter().filter_map(|a| Some((a.device.clone(), a.next_hop?))).collect(),
        })
    }

    /// Whether every route of the Service can leave here by some next hop, as the last reconcile saw it.
    fn has_way(&self, service: &Service) -> bool {
        let Some(skeleton) = &self.skeleton else { return true };
        let mut exits = self.candidates.routes(&service.name).filter_map(|route| skeleton.exits.get(route));
        exits.all(Exit::is_open)
    }

    fn with_addresses(&self) -> impl Iterator<Item = &Service> {
        self.world.services.values().filter(|service| service.is_ours() && !service.addresses.is_empty())
    }

    /// The node that owns the Service's addresses because no other could. A node without manifest is alone.
    fn sole_candidate(&self, service: &Service) -> Option<String> {
        if self.world.nodes.is_empty() {
            return Some(self.settings.node.clone());
        }
        let mut nodes = self.candidates.nodes(&service.name).iter();
        nodes.next().filter(|_| nodes.next().is_none()).cloned()
    }

    /// The node that owns the Service's addresses, if it is known.
    pub(super) fn owner(&self, service: &Service) -> Option<String> {
        let chosen = || {
            let number = *self.holdings.owners.get(&service.name)?;
            self.world.nodes.values().find(|node| node.number == Some(number)).map(|node| node.name.clone())
        };
        self.sole_candidate(service).or_else(chosen)
    }

    /// Names of the nodes that own addresses, as far as they are known.
    pub(super) fn owner_names(&self) -> BTreeMap<ObjectName, String> {
        self.with_addresses().filter_map(|service| Some((service.name.clone(), self.owner(service)?))).collect()
    }

    pub(super) fn addresses(&self) -> Vec<AddressStatus> {
        let on = |service: &Service| {
            let answers = service.addresses.iter().flat_map(|address| answers_of(&self.shown.answers, *address));
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

    pub(super) fn owned_by(&self, service: &Service) -> (bool, Reason, String) {
        if self.holdings.conflicts.contains(&service.name) {
            let message =
                "a station that is no node of this cluster answers for its address: free the address or use another";
            return (false, Reason::AddressNotAllowed, message.to_owned());
        }
        let Some(node) = self.owner(service) else { return (false, Reason::NoExitNode, self.why_nobody(service)) };
        let answered =
            service.addresses.iter().any(|address| answers_of(&self.shown.answers, *address).next().is_some());
        if node == self.settings.node && !answered {
            let message =
                "no device of this node answers for its addresses: name one in spec.devices of the AddressPool";
            return (true, Reason::DeviceMissing, message.to_owned());
        }
        (true, Reason::Accepted, format!("by node {node}"))
    }

    fn why_nobody(&self, service: &Service) -> String {
        if self.candidates.nodes(&service.name).is_empty() {
            return "no node matches the selectors of its pools and routes".to_owned();
        }
        if !self.settings.has_peer_key {
            return "several nodes could own its addresses: give every helper the same --peer-key-file".to_owned();
        }
        let none = || "no node that could own its addresses does at present".to_owned();
        self.numbers().and_then(|numbers| self.unit(service, &numbers)).err().unwrap_or_else(none)
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
