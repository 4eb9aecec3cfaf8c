//! One small node: one route by eth1 in both families, one pod.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sortie_core::allocation::{Allocation, Demand, Giver, allocate};
use sortie_core::desired::{Inputs, Peering, Skeleton, skeleton};
use sortie_core::ids::Numbers;
use sortie_core::model::{
    AllowedNamespaces, DeviceName, Health, HealthMode, Meta, NextHop, Node, ObjectName, PortRange, Protocol,
    ServiceOutboundRoute, WhenUnavailable,
};
use sortie_core::selection::{Assignment, Flow, FlowMatch, PathKey, PathSource, address_paths};
use sortie_core::world::{Device, NodeFacts, World};

pub(crate) fn hop(gateway: &str, device: &str) -> NextHop {
    NextHop {
        gateway: Some(gateway.parse().unwrap()),
        device: Some(DeviceName(device.into())),
        weight: 1,
        backup: false,
    }
}

pub(crate) fn signalling() -> ServiceOutboundRoute {
    ServiceOutboundRoute {
        name: "signalling".into(),
        meta: Meta::default(),
        next_hops: vec![hop("172.16.1.1", "eth1"), hop("fd00:16::1", "eth1")],
        destinations: Vec::new(),
        except_destinations: Vec::new(),
        node_selector: None,
        allowed_namespaces: AllowedNamespaces::All,
        when_unavailable: WhenUnavailable::Drop,
        health: Health { mode: HealthMode::None, interval_milliseconds: 1000, failures: 3, target: None },
        mtu: None,
        table_id: None,
        given_table: None,
    }
}

pub(crate) fn node(route: ServiceOutboundRoute) -> (World, NodeFacts) {
    let networks = |list: &[&str]| list.iter().map(|n| n.parse().unwrap()).collect::<Vec<_>>();
    let node = Node {
        name: "n1".into(),
        pod_cidrs: networks(&["10.244.0.0/16", "fd00:244::/48"]),
        addresses: vec!["10.10.0.11".parse().unwrap(), "fd00:10::11".parse().unwrap()],
        ..Node::default()
    };
    let world = World {
        nodes: BTreeMap::from([("n1".into(), node)]),
        routes: BTreeMap::from([("signalling".into(), route)]),
        ..World::default()
    };
    let device = |index, list: &[&str]| Device { index, up: true, mtu: 1500, addresses: networks(list) };
    let devices = BTreeMap::from([
        (DeviceName("eth0".into()), device(2, &["10.10.0.11/24", "fd00:10::11/64"])),
        (DeviceName("eth1".into()), device(3, &["172.16.1.11/24", "fd00:16::11/64"])),
    ]);
    (world, NodeFacts { devices, ..NodeFacts::default() })
}

/// Numbers for everything.
pub(crate) fn numbered((world, facts): &(World, NodeFacts)) -> Allocation {
    let addresses = address_paths(world);
    let demand = Demand { world, facts, numbers: Numbers::default(), addresses: &addresses, giver: Giver::Here };
    let (allocation, refused) = allocate(&Allocation::default(), &demand);
    assert_eq!(refused, Vec::new());
    allocation
}

pub(crate) fn built(place: &(World, NodeFacts)) -> Skeleton {
    built_beside(place, None)
}

pub(crate) fn built_beside(place: &(World, NodeFacts), peering: Option<&Peering>) -> Skeleton {
    let ((world, facts), allocation) = (place, numbered(place));
    let here = |name: &&ObjectName| peering.is_none_or(|peering| !peering.peers.owners.contains_key(name));
    let owned = world.services.keys().filter(here).cloned().collect();
    skeleton(&Inputs {
        world,
        node: "n1",
        facts,
        allocation: &allocation,
        numbers: Numbers::default(),
        cluster_cidrs: &[],
        owned: &owned,
        leased: &std::collections::BTreeSet::new(),
        peering,
    })
}

pub(crate) fn addresses() -> [IpAddr; 2] {
    ["10.244.1.7".parse().unwrap(), "fd00:244:0:1::7".parse().unwrap()]
}

pub(crate) fn assignment() -> Assignment {
    let path = PathKey::Route { route: "signalling".into(), source: PathSource::Device };
    let ports = |first, last| Some(PortRange { first, last });
    let sip = FlowMatch { protocol: Some(Protocol::Udp), source_ports: ports(5060, 5060), ..FlowMatch::default() };
    let rtp = FlowMatch { source_ports: ports(10_000, 20_000), ..sip.clone() };
    let web = FlowMatch {
        protocol: Some(Protocol::Tcp),
        destination_ports: ports(443, 443),
        destination: Some("192.0.2.0/24".parse().unwrap()),
        except: vec!["192.0.2.128/25".parse().unwrap()],
        ..FlowMatch::default()
    };
    Assignment { flows: [sip, rtp, web].map(|matcher| Flow { matcher, path: path.clone() }).to_vec() }
}
