//! The source address a packet leaves with.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::fate::Whose;
use super::{Hop, Scene, SourceAddress, Way};
use crate::model::{DeviceName, Family, is_link_local};

/// The source, for the pod's address and the way it leaves by.
pub(super) fn source(scene: &Scene<'_>, whose: Whose, (own, way): (IpAddr, Option<&Way>)) -> SourceAddress {
    let kind =
        |kind: &str, addresses: Vec<IpAddr>| SourceAddress { kind: kind.to_owned(), addresses, ..Default::default() };
    match whose {
        Whose::Nobody => kind("none", Vec::new()),
        Whose::Unchanged => kind("unchanged", Vec::new()),
        Whose::Pod => kind("pod", vec![own]),
        Whose::Device => kind("device", of_devices(scene, Family::of(own), way)),
        Whose::Service(name) => {
            let addresses = scene.world.services.get(&name).map(|s| s.addresses.as_slice()).unwrap_or_default();
            let first = addresses.iter().copied().find(|address| Family::of(*address) == Family::of(own));
            SourceAddress {
                owner: scene.owners.get(&name).cloned().unwrap_or_default(),
                leased: scene.leased.contains(&name),
                service: name.to_string(),
                ..kind("service", first.into_iter().collect())
            }
        }
    }
}

/// Addresses among which masquerading chooses, on the devices of this node.
fn of_devices(scene: &Scene<'_>, family: Family, way: Option<&Way>) -> Vec<IpAddr> {
    let hops = way.filter(|way| way.node == scene.node).map(|way| way.next_hops.as_slice()).unwrap_or_default();
    let mut found: Vec<IpAddr> = hops.iter().flat_map(|hop| towards(scene, family, hop)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The device's addresses in the network of the gateway; of another one only if there is none.
fn towards(scene: &Scene<'_>, family: Family, hop: &Hop) -> Vec<IpAddr> {
    let device = scene.devices.get(&DeviceName(hop.device.clone()));
    let addresses = device.map(|d| d.addresses.as_slice()).unwrap_or_default();
    let all: Vec<&IpNetwork> =
        addresses.iter().filter(|a| Family::of_network(**a) == family && !is_link_local(a.ip())).collect();
    let near: Vec<IpAddr> = all.iter().filter(|a| hop.gateway.is_some_and(|g| a.contains(g))).map(|a| a.ip()).collect();
    if near.is_empty() { all.iter().map(|a| a.ip()).collect() } else { near }
}
