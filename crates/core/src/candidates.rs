//! Which nodes may own the addresses of a Service, and which devices answer there.
//!
//! Guarantees: the result depends on selectors only, not on who is alive, so that every node counts the same
//! candidates. Leaves out: which candidate owns.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::address::pool_of;
use crate::model::{DeviceName, LabelSelector, Labels, NextHop, ObjectName, Service};
use crate::selection;
use crate::world::{NodeFacts, World};

/// Who may own what in a world; made once per world.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    nodes: BTreeMap<ObjectName, BTreeSet<String>>,
    routes: BTreeMap<ObjectName, BTreeSet<String>>,
}

impl Candidates {
    /// For all Services with addresses.
    #[must_use]
    pub fn of(world: &World) -> Self {
        let mut routes = BTreeMap::<ObjectName, BTreeSet<String>>::new();
        for path in selection::address_paths(world) {
            if let (Some(service), Some(route)) = (path.service(), path.route()) {
                routes.entry(service.clone()).or_default().insert(route.to_owned());
            }
        }
        let with_addresses = world.services.values().filter(|service| !service.addresses.is_empty());
        let nodes = with_addresses.map(|service| {
            let none = BTreeSet::new();
            let routes = routes.get(&service.name).unwrap_or(&none);
            (service.name.clone(), admitted(world, service, routes))
        });
        Self { nodes: nodes.collect(), routes }
    }

    /// Names of the nodes that the selectors of the Service's pools and routes admit.
    #[must_use]
    pub fn nodes(&self, service: &ObjectName) -> &BTreeSet<String> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        self.nodes.get(service).unwrap_or(&NONE)
    }

    /// Routes that objects lead the Service's address by.
    pub fn routes(&self, service: &ObjectName) -> impl Iterator<Item = &str> {
        self.routes.get(service).into_iter().flatten().map(String::as_str)
    }
}

fn admitted(world: &World, service: &Service, routes: &BTreeSet<String>) -> BTreeSet<String> {
    let pools = service.addresses.iter().filter_map(|a| pool_of(world, *a)).filter_map(|p| p.node_selector.as_ref());
    let routes = routes.iter().filter_map(|route| world.routes.get(route)?.node_selector.as_ref());
    let selectors: Vec<&LabelSelector> = pools.chain(routes).collect();
    let admits = |labels: &Labels| selectors.iter().all(|selector| selector.matches(labels));
    world.nodes.values().filter(|node| admits(&node.meta.labels)).map(|node| node.name.clone()).collect()
}

/// An address that a node answers for on a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    /// The address.
    pub address: IpAddr,
    /// The device.
    pub device: DeviceName,
    /// Gateway of a route of its Service on that device, of the address's family: whoever has to know us.
    pub next_hop: Option<IpAddr>,
}

/// Those of an address.
pub fn answers_of(answers: &BTreeSet<Answer>, address: IpAddr) -> impl Iterator<Item = &Answer> {
    let first = Answer { address, device: DeviceName(String::new()), next_hop: None };
    answers.range(first..).take_while(move |answer| answer.address == address)
}

/// What a node answers for that owns this Service's addresses.
#[must_use]
pub fn answering(world: &World, candidates: &Candidates, (facts, service): (&NodeFacts, &Service)) -> Vec<Answer> {
    let routes: Vec<_> = candidates.routes(&service.name).filter_map(|route| world.routes.get(route)).collect();
    let hops = || routes.iter().flat_map(|route| &route.next_hops);
    let mut answers = Vec::new();
    for address in &service.addresses {
        for device in devices(world, facts, (service, *address)) {
            let fits = |hop: &&NextHop| hop.device.as_ref().is_none_or(|d| *d == device);
            let gateways = hops().filter(fits).filter_map(|hop| hop.gateway);
            let next_hop = gateways.into_iter().find(|g| g.is_ipv4() == address.is_ipv4());
            answers.push(Answer { address: *address, device, next_hop });
        }
    }
    answers
}

/// Those the Service names, or its pool, or the one whose network holds the address; only such as are there.
#[must_use]
pub fn devices(world: &World, facts: &NodeFacts, (service, address): (&Service, IpAddr)) -> Vec<DeviceName> {
    let pool = pool_of(world, address).map_or(&[][..], |pool| pool.devices.as_slice());
    let named = if service.interfaces.is_empty() { pool } else { service.interfaces.as_slice() };
    if !named.is_empty() {
        return named.iter().filter(|device| facts.devices.contains_key(*device)).cloned().collect();
    }
    let holds = |device: &DeviceName| facts.devices[device].addresses.iter().any(|network| network.contains(address));
    facts.devices.keys().filter(|device| holds(device)).cloned().collect()
}
