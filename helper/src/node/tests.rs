//! One node over a kernel in memory.

mod attach;
mod due;
mod reconcile;

use std::path::Path;

use sortie_core::model::{
    AllowedNamespaces, DeviceName, Egress, Health, HealthMode, Namespace, NextHop, Node as NodeObject, Object,
    PodReference, ServiceOutboundRoute, Source, WhenUnavailable,
};
use sortie_core::world::{Device, NodeFacts};
use sortie_kernel::fake::Fake;

use super::*;

/// A node with route `out` by eth1.
pub(super) struct Stage {
    pub(super) dir: tempfile::TempDir,
    pub(super) node: Node<Fake>,
}

pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn attachment(container: &str, address: &str) -> Attachment {
    Attachment {
        container_id: container.to_owned(),
        interface: "eth0".to_owned(),
        netns: "/var/run/netns/x".to_owned(),
        network: "net".to_owned(),
        pod: None,
        addresses: vec![address.parse().unwrap()],
        annotations: BTreeMap::new(),
        routes: Vec::new(),
    }
}

/// An attachment of a pod in a namespace that asks for route `out`.
pub(super) fn selected(container: &str, address: &str) -> Attachment {
    let pod = PodReference { namespace: "telco".to_owned(), name: container.to_owned(), uid: String::new() };
    Attachment { pod: Some(pod), ..attachment(container, address) }
}

/// What asks for route `out`.
pub(super) fn wish() -> Egress {
    Egress {
        route: Some("out".to_owned()),
        ports: Vec::new(),
        destination_ports: Vec::new(),
        destinations: Vec::new(),
        except_destinations: Vec::new(),
        source: Source::Device,
    }
}

pub(super) fn key(container: &str) -> AttachmentKey {
    AttachmentKey { container_id: container.to_owned(), interface: "eth0".to_owned() }
}

pub(super) fn route(name: &str) -> ServiceOutboundRoute {
    ServiceOutboundRoute {
        name: name.to_owned(),
        meta: Default::default(),
        next_hops: vec![NextHop {
            gateway: "192.168.50.1".parse().ok(),
            device: Some(DeviceName("eth1".to_owned())),
            weight: 1,
            backup: false,
        }],
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

pub(super) fn world() -> Vec<Object> {
    let node = NodeObject {
        name: "n1".to_owned(),
        pod_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
        ..NodeObject::default()
    };
    let namespace = Namespace { name: "telco".to_owned(), egress: vec![wish()], ..Namespace::default() };
    vec![Object::Node(node), Object::Namespace(namespace), Object::Route(route("out"))]
}

fn facts() -> NodeFacts {
    let device = Device { index: 7, up: true, mtu: 1500, addresses: vec!["192.168.50.2/24".parse().unwrap()] };
    NodeFacts { devices: BTreeMap::from([(DeviceName("eth1".to_owned()), device)]), ..NodeFacts::default() }
}

pub(super) fn settings() -> Settings {
    Settings {
        node: "n1".to_owned(),
        numbers: Numbers::default(),
        cluster_cidrs: Vec::new(),
        steering: Steering::Auto,
        rules_max: 16,
        has_peer_key: false,
        giver: Giver::Here,
        runtime_cache: PathBuf::from("/nonexistent"),
    }
}

fn open(dir: &Path, settings: Settings, platform: Fake) -> Node<Fake> {
    let mut node = Node::new(settings, platform, Store::open(dir, dir).unwrap()).unwrap();
    node.set_world(World::of(world()), &[], &[]);
    node
}

impl Stage {
    /// Before the first reconcile.
    pub(super) fn new(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = open(dir.path(), settings, Fake { facts: facts(), ..Fake::default() });
        Self { dir, node }
    }

    /// After the first reconcile.
    pub(super) fn ready(settings: Settings) -> Self {
        let mut stage = Self::new(settings);
        stage.reconcile();
        stage
    }

    /// Another helper over the same kernel and the same disk.
    pub(super) fn restart(self) -> Self {
        let node = open(self.dir.path(), self.node.settings.clone(), self.node.platform);
        Self { dir: self.dir, node }
    }

    pub(super) fn reconcile(&mut self) {
        wait(self.node.reconcile()).unwrap();
        assert_eq!(self.node.ready(), Ok(()));
    }

    pub(super) fn set_world(&mut self, objects: Vec<Object>) {
        self.node.set_world(World::of(objects), &[], &[]);
    }

    pub(super) fn ask(&mut self, request: Request) -> Reply {
        wait(self.node.handle(request))
    }

    /// Attaches, installs the rules as the plugin does, and returns them.
    pub(super) fn attach(&mut self, attachment: Attachment) -> Vec<sortie_core::state::Rule> {
        match self.ask(Request::Attach(attachment)) {
            Reply::Attached { rules, .. } => {
                self.node.platform.state.rules.extend(rules.clone());
                rules
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn refused(&mut self, attachment: Attachment) -> Failure {
        match self.ask(Request::Attach(attachment)) {
            Reply::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn drift(&mut self, container: &str) -> Vec<String> {
        let held = self.node.attachments.get(&key(container));
        let addresses = held.map(|h| h.stored.attachment.addresses.clone()).unwrap_or_default();
        self.drift_at(container, addresses)
    }

    pub(super) fn drift_at(&mut self, container: &str, addresses: Vec<std::net::IpAddr>) -> Vec<String> {
        match self.ask(Request::Check { key: key(container), addresses }) {
            Reply::Checked { drift } => drift,
            other => panic!("{other:?}"),
        }
    }

    /// Addresses the kernel selects.
    pub(super) fn pods(&self) -> Vec<String> {
        let maps = self.node.platform.state.nft.iter().flat_map(|t| t.maps.iter());
        let pods = maps.filter(|(name, _)| name.starts_with("pods")).flat_map(|(_, m)| m.elements.keys());
        pods.map(|k| format!("{k:?}")).collect()
    }

    pub(super) fn applied(&mut self) -> Vec<sortie_core::state::Step> {
        std::mem::take(&mut self.node.platform.applied)
    }

    pub(super) fn file_exists(&self, name: &str) -> bool {
        self.dir.path().join(name).exists()
    }
}
