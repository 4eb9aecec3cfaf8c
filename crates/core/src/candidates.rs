//! Which nodes may own the addresses of a Service, and which devices answer there.
//!
//! Guarantees: the result depends on selectors only, not on who is alive, so that every node counts the same
//! candidates. Leaves out: which candidate owns.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::address::pool_of;
use crate::model::{DeviceName, LabelSelector, Labels, NextHop, ObjectName, Service};
use crate::selection;
use crate::world::{NodeFacts, World};

/// Names of the nodes that the selectors of the Service's pools and routes admit.
#[must_use]
pub fn candidates(world: &World, service: &Service) -> BTreeSet<String> {
    let pools = service.addresses.iter().filter_map(|a| pool_of(world, *a)).filter_map(|p| p.node_selector.as_ref());
    let paths = selection::address_paths(world);
    let of_service = paths.iter().filter(|path| path.service() == Some(&service.name));
    let routes = of_service.filter_map(|path| world.routes.get(path.route()?)?.node_selector.as_ref());
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

/// What a node answers for that owns these Services' addresses.
#[must_use]
pub fn answering(world: &World, facts: &NodeFacts, owned: &BTreeSet<ObjectName>) -> BTreeSet<Answer> {
    let paths = selection::address_paths(world);
    let mut answers = BTreeSet::new();
    for service in owned.iter().filter_map(|name| world.services.get(name)) {
        let of_service = paths.iter().filter(|path| path.service() == Some(&service.name));
        let routes: Vec<_> = of_service.filter_map(|path| world.routes.get(path.route()?)).collect();
        let hops = || routes.iter().flat_map(|route| &route.next_hops);
        for address in &service.addresses {
            for device in devices(world, facts, (service, *address)) {
                let fits = |hop: &&NextHop| hop.device.as_ref().is_none_or(|d| *d == device);
                let gateways = hops().filter(fits).filter_map(|hop| hop.gateway);
                let next_hop = gateways.into_iter().find(|g| g.is_ipv4() == address.is_ipv4());
                answers.insert(Answer { address: *address, device, next_hop });
            }
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
