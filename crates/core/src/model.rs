//! The objects people write, as plain values after validation.
//!
//! Guarantees: a value of these types obeys every rule of `docs/configuration.md` that one object can
//! show by itself. Leaves out: how it was written (manifest, API, annotation), which is [`crate::manifest`]'s
//! business, and every rule that needs a second object, which is [`crate::selection`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// `namespace/name`; the namespace is empty for cluster-scoped objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// The kinds Sortie reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Core `Node`.
    Node,
    /// Core `Namespace`.
    Namespace,
    /// Core `Pod`.
    Pod,
    /// Core `Service`.
    Service,
    /// `ServiceCIDR` of `networking.k8s.io/v1`.
    ServiceCidr,
    /// `sortie.dev/v1alpha1`.
    ServiceOutboundRoute,
    /// `sortie.dev/v1alpha1`.
    EgressPolicy,
    /// `sortie.dev/v1alpha1`.
    AddressPool,
}

/// Identity of an object in the world.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Kind.
    pub kind: Kind,
    /// Namespace and name.
    pub name: ObjectName,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.name)
    }
}

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// 6.
    Tcp,
    /// 17.
    Udp,
    /// 132.
    Sctp,
}

impl Protocol {
    /// IANA protocol number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
    /// Lower-case name, as nft and iproute2 write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// Inclusive range of ports, 1..=65535, `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

/// One entry of `ports` or `destinationPorts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortMatch {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Ports.
    pub ports: PortRange,
}

/// Name of a network device: 1 to 15 bytes, no `/`, no `:`, no white space, not `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceName(pub String);

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// In 169.254.0.0/16 or fe80::/10 (RFC 3927, RFC 4291): such an address says nothing about the link it is on.
#[must_use]
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];
    /// Family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
    /// Family of a network.
    #[must_use]
    pub fn of_network(network: IpNetwork) -> Self {
        if network.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Metadata that selection needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// `metadata.labels`.
    pub labels: Labels,
    /// `metadata.annotations`: those of `sortie.dev/`, and `kubernetes.io/config.mirror` (UID of a static pod).
    pub annotations: BTreeMap<String, String>,
    /// `metadata.creationTimestamp` as written (RFC 3339 UTC sorts as text); empty when absent.
    pub created: String,
    /// `metadata.uid`; empty when absent.
    pub uid: String,
}

/// Kubernetes label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSelector {
    /// All must be equal.
    pub match_labels: Labels,
    /// All must hold.
    pub match_expressions: Vec<LabelExpression>,
}

/// One `matchExpressions` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelExpression {
    /// Label key.
    pub key: String,
    /// Operator.
    pub operator: LabelOperator,
    /// Values of `In` and `NotIn`.
    pub values: BTreeSet<String>,
}

/// Operator of a [`LabelExpression`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelOperator {
    /// Value is one of the values.
    In,
    /// Value is absent or none of the values.
    NotIn,
    /// Key is present.
    Exists,
    /// Key is absent.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether the selector matches; the empty selector matches everything.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            && self.match_expressions.iter().all(|e| e.holds(labels))
    }
}

impl LabelExpression {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            LabelOperator::In => value.is_some_and(|v| self.values.contains(v)),
            LabelOperator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

/// `ServiceOutboundRoute`, cluster-scoped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceOutboundRoute {
    /// Name.
    pub name: String,
    /// Metadata.
    pub meta: Meta,
    /// 1..=16 next hops.
    pub next_hops: Vec<NextHop>,
    /// Networks served; empty = everything outside the cluster.
    pub destinations: Vec<IpNetwork>,
    /// Networks that stay on the main table.
    pub except_destinations: Vec<IpNetwork>,
    /// Nodes that may be an exit; `None` = every node with the device.
    pub node_selector: Option<LabelSelector>,
    /// Namespaces that may refer to the route.
    pub allowed_namespaces: AllowedNamespaces,
    /// What happens to traffic without a usable next hop.
    pub when_unavailable: WhenUnavailable,
    /// Next-hop probing.
    pub health: Health,
    /// Route MTU in bytes, 1280..=65535 (RFC 8200 section 5).
    pub mtu: Option<u32>,
    /// Requested table.
    pub table_id: Option<u32>,
    /// `status.tableId`: the table that one helper gave it for the whole cluster; nothing where tables are given here.
    pub given_table: Option<u32>,
}

/// One next hop; at least one of `gateway` and `device` is present.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NextHop {
    /// Gateway; `None` = on-link.
    pub gateway: Option<IpAddr>,
    /// Device; `None` = found from the node's connected routes.
    pub device: Option<DeviceName>,
    /// ECMP weight, 1..=256.
    pub weight: u16,
    /// Used only while no other next hop of the family is usable.
    pub backup: bool,
}

/// `allowedNamespaces`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllowedNamespaces {
    /// `from: All`.
    All,
    /// `from: Selector`.
    Selector(LabelSelector),
}

/// `whenUnavailable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenUnavailable {
    /// Drop and count.
    Drop,
    /// Fall back to the main table.
    UseMainTable,
}

/// `health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How a next hop is probed.
    pub mode: HealthMode,
    /// Time between probes, 100..=60000 ms.
    pub interval_milliseconds: u32,
    /// Failed probes in a row that make a next hop unusable, 1..=10.
    pub failures: u32,
    /// Address probed instead of the gateway (mode `Icmp`).
    pub target: Option<IpAddr>,
}

/// How a next hop is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthMode {
    /// Not at all: usable while the device is up.
    None,
    /// ARP (RFC 826) or neighbour discovery (RFC 4861) of the gateway.
    Neighbour,
    /// ICMP echo (RFC 792, RFC 4443).
    Icmp,
}

/// Whose address a flow leaves with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Source {
    /// Address of the exit device.
    Device,
    /// The pod's own address, not rewritten.
    Pod,
    /// Load-balancer address of a Service in the same namespace.
    Service(String),
}

/// What an object asks for: a route, a source and the traffic it is about. Shared by `EgressPolicy`,
/// annotations and the net conf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// Name of a `ServiceOutboundRoute`; absent only with `Source::Service`.
    pub route: Option<String>,
    /// The pod's own ports; empty = any.
    pub ports: Vec<PortMatch>,
    /// Ports at the far end; empty = any.
    pub destination_ports: Vec<PortMatch>,
    /// Networks; empty = everything outside the cluster.
    pub destinations: Vec<IpNetwork>,
    /// Networks left out.
    pub except_destinations: Vec<IpNetwork>,
    /// Source address.
    pub source: Source,
}

/// `EgressPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressPolicy {
    /// Namespace and name.
    pub name: ObjectName,
    /// Metadata.
    pub meta: Meta,
    /// Pods it applies to.
    pub pod_selector: LabelSelector,
    /// What it asks for.
    pub egress: Egress,
}

/// Core `Node`, the part we read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Metadata.
    pub meta: Meta,
    /// `spec.podCIDRs` (or `spec.podCIDR`).
    pub pod_cidrs: Vec<IpNetwork>,
    /// `status.addresses` of type InternalIP and ExternalIP.
    pub addresses: Vec<IpAddr>,
    /// Annotation `sortie.dev/node-number`, or what the Kubernetes API says elsewhere, 1..=65535.
    pub number: Option<u16>,
}

impl Node {
    /// Annotation that gives a node its number, without our prefix.
    pub(crate) const NUMBER: &'static str = "node-number";

    /// Whether an annotation, and nobody else, says its number.
    #[must_use]
    pub fn has_own_number(&self) -> bool {
        self.meta.annotations.contains_key(&format!("{}{}", crate::annotation::PREFIX, Self::NUMBER))
    }
}

/// Core `Namespace`, the part we read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Name.
    pub name: String,
    /// Metadata.
    pub meta: Meta,
    /// What its annotations ask for, for all its pods.
    pub egress: Vec<Egress>,
}

/// Core `Pod`, the part we read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Namespace and name.
    pub name: ObjectName,
    /// Metadata.
    pub meta: Meta,
    /// `spec.nodeName`.
    pub node: String,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// Named container ports.
    pub named_ports: BTreeMap<String, PortMatch>,
    /// What its annotations ask for.
    pub egress: Vec<Egress>,
}

/// Core `Service`, the part we read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// Metadata.
    pub meta: Meta,
    /// `spec.selector`; empty selects nothing.
    pub selector: Labels,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.type` is LoadBalancer.
    pub load_balancer: bool,
    /// `spec.loadBalancerClass`.
    pub class: String,
    /// Addresses in use, in order: `status.loadBalancer.ingress[].ip`, and what [`crate::address`] gave.
    pub addresses: Vec<IpAddr>,
    /// Addresses asked for: annotation `sortie.dev/addresses`, or `spec.loadBalancerIP`.
    pub requested: Vec<IpAddr>,
    /// `spec.ipFamilies`; empty = every family a pool has.
    pub families: Vec<Family>,
    /// Annotation `sortie.dev/interfaces`: the only devices that answer for the addresses; empty = the pool's.
    pub interfaces: Vec<DeviceName>,
}

impl Service {
    /// Class of Services whose addresses Sortie gives and answers for.
    pub const CLASS: &'static str = "sortie.dev/vip";

    /// Whether Sortie gives the Service its addresses.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.load_balancer && self.class == Self::CLASS
    }
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Protocol.
    pub protocol: Protocol,
    /// `port`.
    pub port: u16,
    /// `targetPort`.
    pub target: TargetPort,
}

/// `targetPort` of a Service port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// A container port's name, resolved per pod.
    Name(String),
}

/// `ServiceCIDR`, cluster-scoped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCidr {
    /// Name.
    pub name: String,
    /// `spec.cidrs`.
    pub cidrs: Vec<IpNetwork>,
}

/// `AddressPool`, cluster-scoped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    /// Name.
    pub name: String,
    /// Metadata.
    pub meta: Meta,
    /// Inclusive address ranges, both ends of one family.
    pub addresses: Vec<(IpAddr, IpAddr)>,
    /// Devices that answer; empty = the device whose subnet holds the address.
    pub devices: Vec<DeviceName>,
    /// Who may take an address.
    pub allowed_namespaces: AllowedNamespaces,
    /// Nodes that may own an address.
    pub node_selector: Option<LabelSelector>,
}

/// Any object we read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// Node.
    Node(Node),
    /// Namespace.
    Namespace(Namespace),
    /// Pod.
    Pod(Pod),
    /// Service.
    Service(Service),
    /// ServiceCIDR.
    ServiceCidr(ServiceCidr),
    /// ServiceOutboundRoute.
    Route(ServiceOutboundRoute),
    /// EgressPolicy.
    Policy(EgressPolicy),
    /// AddressPool.
    Pool(AddressPool),
}

/// Why a piece of input is refused: the three things an answer must name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{object}: {field}: {message}; {remedy}")]
pub struct Rejection {
    /// Stable condition reason (`docs/configuration.md`).
    pub reason: Reason,
    /// The object, or the file and document when it has no readable name.
    pub object: String,
    /// JSON path of the field, `spec.nextHops[1].gateway`.
    pub field: String,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// Stable condition reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// In force.
    Accepted,
    /// The route named does not exist.
    RouteNotFound,
    /// The route or pool does not allow the namespace.
    NamespaceNotAllowed,
    /// The Service named does not exist.
    ServiceNotFound,
    /// The Service does not select the pod.
    ServiceDoesNotSelectPod,
    /// The Service has no usable address.
    NoAddress,
    /// The address may not be used by the namespace.
    AddressNotAllowed,
    /// Another object wins.
    Conflicted,
    /// The object is malformed.
    Invalid,
    /// The device is not on this node.
    DeviceMissing,
    /// No next hop answers.
    NextHopUnreachable,
    /// No node can exit.
    NoExitNode,
    /// In the kernel and verified.
    Programmed,
    /// Somebody else has to do his part first, and will.
    Pending,
}

/// A pod's interface as the runtime announced it at ADD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub interface: String,
    /// `CNI_NETNS`.
    pub netns: String,
    /// Net conf `name`.
    pub network: String,
    /// From `CNI_ARGS`; absent for runtimes without pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodReference>,
    /// Addresses of this interface in `prevResult`.
    pub addresses: Vec<IpAddr>,
    /// Pod annotations of `sortie.dev/`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Net conf `routes`, unparsed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<serde_json::Value>,
}

/// Identity of a pod in `CNI_ARGS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodReference {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`; empty when the runtime does not say.
    #[serde(default)]
    pub uid: String,
}
