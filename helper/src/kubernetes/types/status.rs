//! What is reported about our objects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One aspect of the object's state.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    /// Which aspect: Accepted, Programmed or NextHopsReachable.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    kind: String,
    /// Whether it holds.
    status: ConditionStatus,
    /// The metadata.generation that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    observed_generation: Option<i64>,
    /// When status changed last.
    #[schemars(extend("format" = "date-time", "maxLength" = 64))]
    last_transition_time: String,
    /// Why, in one stable word.
    #[schemars(length(min = 1, max = 1024))]
    reason: String,
    /// Why, in a sentence.
    #[schemars(length(max = 32768))]
    message: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// What one node has to say about the object.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeReport {
    /// Name of the node.
    #[schemars(length(min = 1, max = 253))]
    name: String,
    /// What is the matter, in one stable word; Programmed if nothing is.
    #[schemars(length(min = 1, max = 1024))]
    reason: String,
    /// What is the matter, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    message: String,
    /// Of a policy: pods of the node that it selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    matched_pods: Option<u32>,
    /// Of a policy: those of them whose traffic can leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    programmed_pods: Option<u32>,
}

/// What every status says.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Reports {
    /// State as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    conditions: Vec<Condition>,
    /// State on nodes that have something to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5000), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    nodes: Vec<NodeReport>,
}

/// State of a route.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteStatus {
    /// The routing table, the same on every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table_id: Option<u32>,
    /// Nodes that can exit now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_nodes: Option<u32>,
    #[serde(flatten)]
    reports: Reports,
}

/// State of a policy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicyStatus {
    /// Pods that are selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    matched_pods: Option<u32>,
    /// Those of them that are programmed on their nodes, so that their traffic can leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    programmed_pods: Option<u32>,
    #[serde(flatten)]
    reports: Reports,
}

/// State of a pool.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PoolStatus {
    /// Addresses that Services hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allocated: Option<u64>,
    /// Addresses that no Service holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    free: Option<u64>,
    #[serde(flatten)]
    reports: Reports,
}
