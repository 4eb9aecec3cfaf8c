//! Values that several kinds have in common.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

const IS_HOST: &str = "isIP(self) && (ip(self).isGlobalUnicast() || ip(self).isLinkLocalUnicast())";
const IS_HOST_MESSAGE: &str = "must be the address of a host: not unspecified, loopback, multicast or broadcast, and no IPv4 address in IPv6 form";
const IS_NETWORK: &str = "self.contains('/') ? isCIDR(self) && cidr(self) == cidr(self).masked() : isIP(self)";
const IS_NETWORK_MESSAGE: &str = "must be a CIDR without bits behind its prefix, or an address";
const DEVICE_PATTERN: &str = r"^[!#-)+-.0-9;-\[\]-~]{1,15}$";
const NAME_PATTERN: &str = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";

/// Address of one host on a wire.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("maxLength" = 45, "x-kubernetes-validations" = rules(&[(IS_HOST, IS_HOST_MESSAGE)])))]
pub(super) struct Host(String);

/// CIDR, or an address for /32 or /128.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("maxLength" = 49, "x-kubernetes-validations" = rules(&[(IS_NETWORK, IS_NETWORK_MESSAGE)])))]
pub(super) struct Network(String);

/// Name of a network device: 1 to 15 printable ASCII characters without blank, '/', ':', '*', '\' and '"'.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend(
    "pattern" = DEVICE_PATTERN,
    "maxLength" = 15,
    "x-kubernetes-validations" = rules(&[("self != '.' && self != '..'", "must be the name of a device")]),
))]
pub(super) struct Device(String);

/// Name of an object.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("pattern" = NAME_PATTERN, "maxLength" = 253))]
pub(super) struct Name(String);

/// Value of a label.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("maxLength" = 63))]
pub(super) struct LabelValue(String);

/// Selects by labels; {} selects everything.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LabelSelector {
    /// Labels that must have these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 64,
        "x-kubernetes-validations" = rules(&[("self.all(key, size(key) <= 317)", "a label's key has at most 317 characters")]),
    ))]
    match_labels: BTreeMap<String, LabelValue>,
    /// Requirements that must all hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    match_expressions: Vec<LabelExpression>,
}

/// A requirement on one label.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
    "values belong to In and NotIn, and to no other operator",
)])))]
struct LabelExpression {
    /// Key of the label.
    #[schemars(length(min = 1, max = 317))]
    key: String,
    /// What must hold.
    operator: LabelOperator,
    /// Values of In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    values: Vec<LabelValue>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
enum LabelOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// Namespaces whose objects may use this one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "(self.from == 'Selector') == has(self.selector)",
    "selector belongs to from: Selector, and only to it",
)])))]
pub(super) struct AllowedNamespaces {
    /// All namespaces, or those the selector selects.
    from: From,
    /// Selects namespaces by their labels, with from: Selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    selector: Option<LabelSelector>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
enum From {
    All,
    Selector,
}

/// Ports of one transport protocol.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "!has(self.endPort) || self.endPort >= self.port",
    "endPort must not be smaller than port",
)])))]
pub(super) struct Ports {
    /// Transport protocol.
    protocol: Protocol,
    /// The port, or the first of a range.
    #[schemars(range(min = 1, max = 65535))]
    port: u16,
    /// Last port of a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    end_port: Option<u16>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}
