//! Objects of both products, and pods.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use sortie_testkit::lab::{GATEWAY4, SERVER4};

use super::stage::Subject;
use super::wire::{NEW, RUNNING, SERVED};

/// Addresses of Sortie's pool, on the network `lan`, by whose router nodes send anyway.
const POOL: std::ops::Range<u8> = 100..120;
/// kube-vip's addresses there.
pub(super) const KUBE_VIP: &str = "10.10.0.120/29";
/// The first of them.
const FIRST: u8 = 120;
/// Time between two datagrams of a pod to each port, milliseconds.
pub(super) const PACE: u32 = 10;
/// Image that every node has.
const IMAGE: &str = "docker.io/sortie/probe:1";

fn lan(last: u8) -> Ipv4Addr {
    let [a, b, c, _] = GATEWAY4[0].octets();
    Ipv4Addr::new(a, b, c, last)
}

/// What Sortie needs once: a route by the network's router, and a pool.
pub(super) fn base() -> Vec<Value> {
    let addresses: Vec<String> = POOL.map(|last| format!("{}/32", lan(last))).collect();
    vec![
        json!({
            "apiVersion": "sortie.dev/v1alpha1", "kind": "ServiceOutboundRoute", "metadata": {"name": "a"},
            "spec": {
                "nextHops": [{"gateway": GATEWAY4[0], "device": "eth0"}], "allowedNamespaces": {"from": "All"},
            },
        }),
        json!({
            "apiVersion": "sortie.dev/v1alpha1", "kind": "AddressPool", "metadata": {"name": "lan"},
            "spec": {"addresses": addresses, "allowedNamespaces": {"from": "All"}},
        }),
    ]
}

/// Who gives a Service its address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) subject: Subject,
    /// Its name, and the label `app` of its pods.
    pub(crate) app: &'a str,
    /// Which of the subject's addresses, from 0; Sortie takes one of its pool.
    pub(crate) number: u8,
}

/// A Service whose address its pods leave with. Its callers are led to a pod of the node they come to.
pub(crate) fn service(wish: Wish<'_>) -> Value {
    let Wish { subject, app, number } = wish;
    let address = lan(FIRST + number).to_string();
    let (annotations, more) = match subject {
        Subject::Sortie => (
            json!({"sortie.dev/route": "a", "sortie.dev/egress": "true"}),
            json!({"loadBalancerClass": "sortie.dev/vip"}),
        ),
        // Its rules are taken away by the address in the older of the two places.
        Subject::KubeVip(_) => (
            json!({"kube-vip.io/egress": "true", "kube-vip.io/loadbalancerIPs": address}),
            json!({"loadBalancerIP": address}),
        ),
    };
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": app, "annotations": annotations},
        "spec": {
            "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "externalTrafficPolicy": "Local",
            "selector": {"app": app}, "ports": [{"port": SERVED, "protocol": "UDP"}],
        },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        service["spec"][key] = value.clone();
    }
    service
}

/// A pod on this node that sends from its first instruction.
pub(crate) fn pod((app, name): (&str, &str), node: usize) -> Value {
    let mut spec = spec();
    spec["nodeName"] = format!("n{node}").into();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}}, "spec": spec})
}

/// Such a pod on every node.
pub(crate) fn daemon_set(app: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": app},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "template": {"metadata": {"labels": {"app": app}}, "spec": spec()},
        },
    })
}

/// One container sends, another one answers callers.
fn spec() -> Value {
    let to = [RUNNING, NEW].map(|port| format!("{SERVER4}:{port}"));
    let container = |name: &str, words: &[&str]| {
        let command = [&["/probe"], words].concat();
        json!({
            "name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": command,
            "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        })
    };
    json!({
        "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
        "containers": [
            container("sends", &["both", "$(POD)", &PACE.to_string(), &to[0], &to[1]]),
            container("serves", &["serve", &format!("0.0.0.0:{SERVED}")]),
        ],
    })
}
