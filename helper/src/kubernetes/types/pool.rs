//! `AddressPool`.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use super::status::PoolStatus;
use super::values::{AllowedNamespaces, Device, LabelSelector};

const IS_RANGE: &str = "!self.contains('-') || [self.substring(0, self.indexOf('-')).trim(), \
     self.substring(self.indexOf('-') + 1).trim()].all(end, isIP(end) \
     && (ip(end).isGlobalUnicast() || ip(end).isLinkLocalUnicast()))";
/// The last address of a network of hosts is a host's unless it is one of these three.
const IS_NETWORK: &str = "self.contains('-') || (self.contains('/') \
     ? isCIDR(self) && cidr(self) == cidr(self).masked() \
     && (cidr(self).ip().isGlobalUnicast() || cidr(self).ip().isLinkLocalUnicast()) \
     && !cidr(self).containsIP('127.255.255.255') && !cidr(self).containsIP('255.255.255.255') \
     && !cidr(self).containsIP('ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff') \
     : isIP(self) && (ip(self).isGlobalUnicast() || ip(self).isLinkLocalUnicast()))";

/// Two addresses are in order if they are equal, or if the first has a zero where they begin to differ. That place is
/// looked for in steps of 16 bits and then bit by bit. Strings are written out and not named because those who
/// estimate the cost of a rule know no length of what is made or named in it.
fn in_order() -> String {
    let lengths: Vec<String> = (0..=128).map(|n: u8| format!("'/{n}'")).collect();
    let lengths = format!("[{}]", lengths.join(", "));
    let (first, last) = ("self.substring(0, self.indexOf('-')).trim()", "self.substring(self.indexOf('-') + 1).trim()");
    let around = |length: &str| format!("cidr({first} + {lengths}[{length}])");
    let (same, longer) = (around("from[0] + bit"), around("from[0] + bit + 1"));
    format!(
        "!self.contains('-') || ip({first}) == ip({last}) \
         || [(self.contains(':') ? [112, 96, 80, 64, 48, 32, 16, 0] : [16, 0]).filter(n, {}.containsIP({last}))].exists(from, \
         size(from) > 0 && [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].exists(bit, \
         {same}.containsIP({last}) && !{longer}.containsIP({last}) && {same}.masked().ip() == {longer}.masked().ip()))",
        around("n")
    )
}

/// Addresses that Sortie may announce.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "sortie.dev",
    version = "v1alpha1",
    kind = "AddressPool",
    shortname = "vippool",
    category = "sortie",
    status = "PoolStatus",
    doc = "Addresses that Sortie may give to Services of class sortie.dev/vip and answer for, and for whom.",
    printcolumn(
        name = "Addresses",
        type_ = "string",
        description = "The first entry",
        json_path = ".spec.addresses[0]"
    ),
    printcolumn(name = "Allocated", type_ = "integer", json_path = ".status.allocated"),
    printcolumn(name = "Free", type_ = "integer", json_path = ".status.free"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AddressPoolSpec {
    /// Ranges FIRST-LAST of one family, or CIDRs.
    #[schemars(length(min = 1, max = 256))]
    addresses: Vec<Range>,
    /// Devices on which ARP and neighbour discovery are answered; empty: the device whose subnet holds the address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    devices: Vec<Device>,
    /// Namespaces whose Services may take an address.
    allowed_namespaces: AllowedNamespaces,
    /// Nodes that may own an address; absent: every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node_selector: Option<LabelSelector>,
}

/// Addresses of hosts: FIRST-LAST, a CIDR, or one address.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("maxLength" = 84, "x-kubernetes-validations" = rules(&[
    (IS_RANGE, "FIRST-LAST must be two addresses of hosts"),
    (&in_order(), "FIRST-LAST must be of one family, and not end before it starts"),
    (IS_NETWORK, "must be a CIDR without bits behind its prefix, an address or FIRST-LAST, of hosts"),
])))]
struct Range(String);
