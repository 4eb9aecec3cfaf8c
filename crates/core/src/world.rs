//! Everything people asked for, as one value, and the facts of this node.
//!
//! Guarantees: no trace of where an object came from. Leaves out: attachments, which are this node's
//! own business and travel beside the world.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::model::{
    AddressPool, AllowedNamespaces, DeviceName, EgressPolicy, Labels, Namespace, Node, Object, ObjectName, Pod,
    Service, ServiceCidr, ServiceOutboundRoute,
};

/// Label that the API server puts on every Namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// All accepted objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// By name.
    pub nodes: BTreeMap<String, Node>,
    /// By name.
    pub namespaces: BTreeMap<String, Namespace>,
    /// By namespace and name.
    pub pods: BTreeMap<ObjectName, Pod>,
    /// By namespace and name.
    pub services: BTreeMap<ObjectName, Service>,
    /// By name.
    pub service_cidrs: BTreeMap<String, ServiceCidr>,
    /// By name.
    pub routes: BTreeMap<String, ServiceOutboundRoute>,
    /// By namespace and name.
    pub policies: BTreeMap<ObjectName, EgressPolicy>,
    /// By name.
    pub pools: BTreeMap<String, AddressPool>,
}

impl World {
    /// The world that holds these objects; of two with one identity the later stays.
    pub fn of(objects: impl IntoIterator<Item = Object>) -> Self {
        let mut world = Self::default();
        for object in objects {
            match object {
                Object::Node(o) => drop(world.nodes.insert(o.name.clone(), o)),
                Object::Namespace(o) => drop(world.namespaces.insert(o.name.clone(), o)),
                Object::Pod(o) => drop(world.pods.insert(o.name.clone(), o)),
                Object::Service(o) => drop(world.services.insert(o.name.clone(), o)),
                Object::ServiceCidr(o) => drop(world.service_cidrs.insert(o.name.clone(), o)),
                Object::Route(o) => drop(world.routes.insert(o.name.clone(), o)),
                Object::Policy(o) => drop(world.policies.insert(o.name.clone(), o)),
                Object::Pool(o) => drop(world.pools.insert(o.name.clone(), o)),
            }
        }
        world
    }

    /// Whether objects of a Namespace are among those allowed; a container without one is only if all are.
    #[must_use]
    pub fn allows(&self, allowed: &AllowedNamespaces, namespace: Option<&str>) -> bool {
        match (allowed, namespace) {
            (AllowedNamespaces::All, _) => true,
            (AllowedNamespaces::Selector(_), None) => false,
            (AllowedNamespaces::Selector(selector), Some(name)) => selector.matches(&self.labels_of(name)),
        }
    }

    fn labels_of(&self, namespace: &str) -> Labels {
        let mut labels = self.namespaces.get(namespace).map(|n| n.meta.labels.clone()).unwrap_or_default();
        labels.insert(NAME_LABEL.to_owned(), namespace.to_owned());
        labels
    }

    /// Networks of the cluster: pod CIDRs, Service CIDRs, every node address as /32 or /128,
    /// and what `--cluster-cidr` adds.
    #[must_use]
    pub fn cluster_networks(&self, configured: &[IpNetwork]) -> BTreeSet<IpNetwork> {
        let nodes = self.nodes.values();
        let hosts = nodes.clone().flat_map(|n| n.addresses.iter().map(|a| IpNetwork::from(*a)));
        let services = self.service_cidrs.values().flat_map(|s| s.cidrs.iter().copied());
        let pods = nodes.flat_map(|n| n.pod_cidrs.iter().copied());
        pods.chain(services).chain(hosts).chain(configured.iter().copied()).collect()
    }
}

/// What this node is like, read from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Devices by name.
    pub devices: BTreeMap<DeviceName, Device>,
    /// Next hops that failed their probes; those not listed are usable while their device is up.
    pub dead_hops: BTreeSet<(DeviceName, IpAddr)>,
    /// Tables that hold routes which are not ours.
    pub foreign_tables: BTreeSet<u32>,
}

/// One network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Interface index.
    pub index: u32,
    /// Administratively up and with carrier.
    pub up: bool,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Addresses with their prefix length, all scopes.
    pub addresses: Vec<IpNetwork>,
}
