//! Which devices can change what is desired.
//!
//! Guarantees: a device that a route, a pool or a Service names, the tunnel's, and every one by which others than pods
//! may be reached do; so a pod's own does not, of which a busy node sees several a second. Leaves out: what changed.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;

use crate::desired::is_outside;
use crate::ids::TUNNEL_DEVICE;
use crate::model::{DeviceName, is_link_local};
use crate::world::{Device, World};

/// Whether the device that has this index, and this name as far as it is told, is one of them; `devices` are those known
/// before, and `configured` is what `--cluster-cidr` says.
#[must_use]
pub fn concerns(
    world: &World,
    devices: &BTreeMap<DeviceName, Device>,
    configured: &[IpNetwork],
    (index, name): (u32, Option<&str>),
) -> bool {
    let known = devices.iter().find(|(_, device)| device.index == index);
    name.is_some_and(|name| is_named(world, name))
        || known.is_some_and(|(name, device)| is_named(world, &name.0) || leads_outside(device, (world, configured)))
}

fn is_named(world: &World, name: &str) -> bool {
    let hops = world.routes.values().flat_map(|route| &route.next_hops).filter_map(|hop| hop.device.as_ref());
    let pools = world.pools.values().flat_map(|pool| &pool.devices);
    let services = world.services.values().flat_map(|service| &service.interfaces);
    name == TUNNEL_DEVICE || hops.chain(pools).chain(services).any(|device| device.0 == name)
}

/// Whether it has an address outside the cluster's networks, which are put together only for a device that has any.
fn leads_outside(device: &Device, (world, configured): (&World, &[IpNetwork])) -> bool {
    let mut addresses = device.addresses.iter().map(IpNetwork::ip).filter(|a| !is_link_local(*a)).peekable();
    if addresses.peek().is_none() {
        return false;
    }
    let cluster = world.cluster_networks(configured);
    addresses.any(|address| is_outside(address, &cluster))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Service;

    const CLUSTER: [&str; 2] = ["10.244.0.0/16", "192.168.50.2/32"];

    fn concerned(device: (u32, Option<&str>)) -> bool {
        let devices = ["a", "cni0", "eth1", "veth1"].map(|name| DeviceName(name.to_owned())).into_iter().zip([
            known(1, &[]),
            known(2, &["10.244.1.1/24", "fe80::1/64"]),
            known(3, &["192.168.50.2/24"]),
            known(4, &["fe80::2/64", "127.0.0.2/8"]),
        ]);
        let service = Service { interfaces: vec![DeviceName("a".to_owned())], ..Service::default() };
        let world = World { services: [(service.name.clone(), service)].into(), ..World::default() };
        concerns(&world, &devices.collect(), &CLUSTER.map(|network| network.parse().unwrap()), device)
    }

    fn known(index: u32, addresses: &[&str]) -> Device {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Device { index, addresses, ..Device::default() }
    }

    #[test]
    fn a_device_that_somebody_names_or_that_leads_outside_concerns_us_by_its_old_or_its_new_name() {
        for device in [(9, Some("a")), (1, Some("renamed")), (1, None), (3, Some("eth1")), (3, None), (9, Some("sor0"))]
        {
            assert!(concerned(device), "{device:?}");
        }
    }

    #[test]
    fn a_device_of_pods_does_not() {
        for device in [(2, Some("cni0")), (4, Some("veth1")), (4, None), (9, Some("veth2")), (9, None)] {
            assert!(!concerned(device), "{device:?}");
        }
    }
}
