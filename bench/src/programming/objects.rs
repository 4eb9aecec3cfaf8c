//! The objects that are edited, each in two variants.

use serde_json::{Value, json};
use sortie_testkit::lab::{DEVICES, GATEWAY4, GATEWAY6};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    First,
    Second,
}

impl Variant {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    fn pick<T>(self, first: T, second: T) -> T {
        match self {
            Self::First => first,
            Self::Second => second,
        }
    }
}

/// An object of ours with its place in the API.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// File in a folder of manifests.
    pub(crate) file: &'static str,
    /// Path in the API.
    pub(crate) path: String,
    pub(crate) value: Value,
}

const GROUP: &str = "/apis/sortie.dev/v1alpha1";
/// Label of the node.
pub(crate) const LABEL: (&str, &str) = ("edge", "here");

fn object(kind: &str, metadata: &Value, spec: &Value) -> Value {
    json!({"apiVersion": "sortie.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// IPv4 gateway of the route.
pub(crate) fn gateway(variant: Variant) -> String {
    let [a, b, c, d] = GATEWAY4[1].octets();
    format!("{a}.{b}.{c}.{}", variant.pick(d, d + 1))
}

/// A route whose next hops change.
pub(crate) fn route(variant: Variant) -> Object {
    let hop = |gateway: String| json!({"gateway": gateway, "device": DEVICES[1]});
    let hops = [hop(gateway(variant)), hop(GATEWAY6[1].to_string())];
    let spec = json!({"nextHops": hops, "allowedNamespaces": {"from": "All"}});
    let value = object("ServiceOutboundRoute", &json!({"name": "b"}), &spec);
    Object { file: "route.yaml", path: format!("{GROUP}/serviceoutboundroutes/b"), value }
}

/// Port of the policy.
pub(crate) fn port(variant: Variant) -> u16 {
    variant.pick(5060, 5061)
}

/// A policy for all pods whose ports change.
pub(crate) fn policy(variant: Variant) -> Object {
    let ports = json!([{"protocol": "UDP", "port": port(variant)}]);
    let spec = json!({"podSelector": {}, "route": "b", "ports": ports});
    let value = object("EgressPolicy", &json!({"name": "all", "namespace": "default"}), &spec);
    Object { file: "policy.yaml", path: format!("{GROUP}/namespaces/default/egresspolicies/all"), value }
}

/// A pool of addresses; in the first variant this node may own them, in the second no node may.
pub(crate) fn pool(variant: Variant) -> Object {
    let nodes = json!({"matchLabels": {LABEL.0: variant.pick(LABEL.1, "nowhere")}});
    let addresses = ["203.0.112.0/20", "2001:db8:f::/64"];
    let spec = json!({"addresses": addresses, "allowedNamespaces": {"from": "All"}, "nodeSelector": nodes});
    let value = object("AddressPool", &json!({"name": "public"}), &spec);
    Object { file: "pool.yaml", path: format!("{GROUP}/addresspools/public"), value }
}

/// IPv4 address of a Service.
pub(crate) fn address(number: usize, variant: Variant) -> String {
    let number = number + variant.pick(0, 2048);
    format!("203.0.{}.{}", 112 + number / 256, number % 256)
}

/// Services with addresses of their own that change all at once.
pub(crate) fn services(count: usize, variant: Variant) -> Vec<Value> {
    let one = |number: usize| {
        let six = format!("2001:db8:f::{:x}", number + variant.pick(0, 2048));
        let addresses = format!("{},{six}", address(number, variant));
        let annotations = json!({"sortie.dev/route": "b", "sortie.dev/addresses": addresses});
        let name = format!("vip-{number}");
        let spec = json!({
            "type": "LoadBalancer", "loadBalancerClass": "sortie.dev/vip", "allocateLoadBalancerNodePorts": false,
            "selector": {"app": name}, "ports": [{"protocol": "UDP", "port": 5060}],
            "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"],
        });
        json!({"apiVersion": "v1", "kind": "Service", "spec": spec,
            "metadata": {"name": name, "namespace": "default", "annotations": annotations}})
    };
    (0..count).map(one).collect()
}
