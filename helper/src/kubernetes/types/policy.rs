//! `EgressPolicy`.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use super::status::PolicyStatus;
use super::values::{LabelSelector, Name, Network, Ports};

const NAMES_A_ROUTE: &str = "has(self.route) || (has(self.source) && self.source.type == 'Service')";

/// The route of pods of one namespace.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "sortie.dev",
    version = "v1alpha1",
    kind = "EgressPolicy",
    plural = "egresspolicies",
    shortname = "egp",
    category = "sortie",
    namespaced,
    status = "PolicyStatus",
    doc = "Sends traffic of selected pods of this namespace by a ServiceOutboundRoute, or with the address of a Service. Fields are ANDed, values in one field ORed; without ports, all traffic to outside is meant.",
    printcolumn(name = "Route", type_ = "string", json_path = ".spec.route"),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.source.type"),
    printcolumn(
        name = "Pods",
        type_ = "integer",
        description = "Pods that are selected",
        json_path = ".status.matchedPods"
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        description = "Those of them whose traffic can leave",
        json_path = ".status.programmedPods"
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
    printcolumn(name = "Service", type_ = "string", priority = "1", json_path = ".spec.source.serviceName"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (NAMES_A_ROUTE, "route: name a ServiceOutboundRoute, or a Service as source"),
])))]
pub(crate) struct EgressPolicySpec {
    /// Pods of this namespace; {} selects all.
    pod_selector: LabelSelector,
    /// Name of a ServiceOutboundRoute; may be absent only with source.type Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    route: Option<Name>,
    /// The pod's own ports; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    ports: Vec<Ports>,
    /// Ports at the far end; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    destination_ports: Vec<Ports>,
    /// CIDRs; empty: everything outside the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    destinations: Vec<Network>,
    /// CIDRs left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    except_destinations: Vec<Network>,
    /// The address with which the traffic leaves.
    #[serde(default)]
    source: Source,
}

/// The address with which traffic leaves.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "(self.type == 'Service') == has(self.serviceName)",
    "serviceName belongs to type: Service, and only to it",
)])))]
struct Source {
    /// Device: address of the exit device. Pod: the pod's own. Service: that of a Service that selects the pod.
    #[serde(rename = "type")]
    kind: SourceKind,
    /// Service of this namespace, with type: Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_name: Option<Name>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
enum SourceKind {
    Service,
    #[default]
    Device,
    Pod,
}
