//! `ServiceOutboundRoute`.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use super::status::RouteStatus;
use super::values::{AllowedNamespaces, Device, Host, LabelSelector, Network};

const UNIQUE_HOPS: &str = "self.all(a, self.exists_one(b, (has(a.device) ? a.device : '') == (has(b.device) ? b.device : '') \
     && has(a.gateway) == has(b.gateway) && (!has(a.gateway) || ip(a.gateway) == ip(b.gateway))))";
const SERVED: &str = "!has(self.destinations) || self.destinations.all(d, self.nextHops.exists(h, \
     !has(h.gateway) || h.gateway.contains(':') == d.contains(':')))";
const TABLE_STAYS: &str = "!has(oldSelf.tableId) || (has(self.tableId) && self.tableId == oldSelf.tableId)";
const TABLE: &str = "!(self in [253, 254, 255]) && !(self >= 11000 && self <= 11099)";
const LINK_LOCAL: &str =
    "has(self.device) || !has(self.gateway) || !isIP(self.gateway) || !ip(self.gateway).isLinkLocalUnicast()";

/// Next hops, devices and source addresses for traffic to one outside network.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "sortie.dev",
    version = "v1alpha1",
    kind = "ServiceOutboundRoute",
    shortname = "sor",
    category = "sortie",
    status = "RouteStatus",
    doc = "Next hops and devices by which selected traffic leaves for one outside network. Refer to it from an EgressPolicy, a Service or a pod annotation.",
    printcolumn(
        name = "Gateway",
        type_ = "string",
        description = "Of the first next hop",
        json_path = ".spec.nextHops[0].gateway"
    ),
    printcolumn(
        name = "Device",
        type_ = "string",
        description = "Of the first next hop",
        json_path = ".spec.nextHops[0].device"
    ),
    printcolumn(name = "Table", type_ = "integer", json_path = ".status.tableId"),
    printcolumn(
        name = "Exits",
        type_ = "integer",
        description = "Nodes that can exit now",
        json_path = ".status.exitNodes"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Programmed")].status"#
    ),
    printcolumn(
        name = "Reachable",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="NextHopsReachable")].status"#
    ),
    printcolumn(name = "Unavailable", type_ = "string", priority = "1", json_path = ".spec.whenUnavailable"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (SERVED, "destinations: each needs a next hop of its family; one without gateway serves both"),
    (TABLE_STAYS, "tableId: cannot be changed or removed"),
])))]
pub(crate) struct ServiceOutboundRouteSpec {
    /// 1 to 16 next hops, no two with the same gateway and device. Those of one family share the load.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-validations" = rules(&[(UNIQUE_HOPS, "no two next hops may have the same gateway and device")])),
    )]
    next_hops: Vec<NextHop>,
    /// CIDRs that the route serves; empty: everything outside the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    destinations: Vec<Network>,
    /// CIDRs that stay on the main table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    except_destinations: Vec<Network>,
    /// Nodes that may be an exit; absent: every node with the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node_selector: Option<LabelSelector>,
    /// Namespaces whose objects may name the route.
    allowed_namespaces: AllowedNamespaces,
    /// What happens to traffic without a usable next hop: it is dropped, or it falls back to the main table.
    #[serde(default)]
    when_unavailable: WhenUnavailable,
    /// How next hops are probed; absent: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
    /// MTU of the route in bytes; absent: that of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1280, max = 65535))]
    mtu: Option<u32>,
    /// Routing table, for good; absent: one is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        range(min = 1, max = 4_294_967_295_u32),
        extend("x-kubernetes-validations" = rules(&[
            (TABLE, "must not be a table of the kernel (253 to 255) or of Sortie itself (11000 to 11099)"),
        ])),
    )]
    table_id: Option<u32>,
}

/// A gateway, a device, or both.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("has(self.gateway) || has(self.device)", "needs a gateway, a device or both"),
    (LINK_LOCAL, "a link-local gateway needs a device"),
])))]
struct NextHop {
    /// Address of the gateway; absent: destinations are neighbours on the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<Host>,
    /// Network device; absent: found on each node from its connected routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
    /// Share of the connections, relative to the other next hops.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 256))]
    weight: u16,
    /// Used only while no other next hop of the family is usable.
    #[serde(default)]
    backup: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
enum WhenUnavailable {
    #[default]
    Drop,
    UseMainTable,
}

/// How next hops are probed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Health {
    /// None: usable while the device is up. Neighbour: ARP or neighbour discovery. Icmp: echo.
    #[serde(default)]
    mode: HealthMode,
    /// Time between two probes.
    #[serde(default = "second")]
    #[schemars(range(min = 100, max = 60000))]
    interval_milliseconds: u32,
    /// Failed probes in a row that make a next hop unusable.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 10))]
    failures: u32,
    /// Address asked instead of the gateway, with mode Icmp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Host>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
enum HealthMode {
    None,
    #[default]
    Neighbour,
    Icmp,
}

fn one() -> u16 {
    1
}

fn second() -> u32 {
    1000
}

fn three() -> u32 {
    3
}
