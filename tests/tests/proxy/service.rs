//! Objects that kube-proxy reads.

use serde_json::{Value, json};
use sortie_testkit::kube::list;

use super::asking::{NODE_PORTS, PORTS};
use super::stage::{COUNT, pod_address, vips};

/// `externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Cluster,
    Local,
}

pub(crate) fn nodes() -> String {
    let node = |number: usize| {
        let address = |address: String| json!({"type": "InternalIP", "address": address});
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("n{number}")},
            "status": {"addresses": [address(format!("10.10.0.{number}")), address(format!("fd00:10::{number}"))]},
        })
    };
    list(&(1..=COUNT).map(node).collect::<Vec<_>>())
}

/// A Service without a selector.
pub(crate) fn service(name: &str, policy: Policy) -> String {
    let ports = ports(
        |name, protocol, number| json!({"name": name, "protocol": protocol, "port": PORTS[number], "nodePort": NODE_PORTS[number]}),
    );
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "sortie.dev/vip", "ipFamilyPolicy": "RequireDualStack",
            "externalTrafficPolicy": format!("{policy:?}"), "ports": ports,
        },
    });
    service.to_string()
}

/// What the leader would write into its status.
pub(crate) fn status() -> String {
    let ingress = vips().map(|vip| json!({"ip": vip, "ipMode": "VIP"}));
    json!({"status": {"loadBalancer": {"ingress": ingress}}}).to_string()
}

/// The pod of one node is the Service's.
pub(crate) fn slices(name: &str, pod: usize) -> String {
    let ports = ports(|name, protocol, number| json!({"name": name, "protocol": protocol, "port": PORTS[number]}));
    let slice = |family: usize| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": (["IPv4", "IPv6"][family]),
            "metadata": {"name": format!("{name}-{family}"), "labels": {"kubernetes.io/service-name": name}},
            "ports": ports,
            "endpoints": [{
                "addresses": [pod_address(pod, vips()[family])], "nodeName": format!("n{pod}"), "conditions": {"ready": true},
            }],
        })
    };
    list(&[slice(0), slice(1)])
}

fn ports(port: impl Fn(&str, &str, usize) -> Value) -> [Value; 3] {
    [port("u", "UDP", 0), port("t", "TCP", 0), port("s", "SCTP", 1)]
}
