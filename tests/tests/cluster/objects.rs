//! Objects of the product and pods that use them.

use std::net::IpAddr;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sortie_testkit::kube::GATEWAYS;
use sortie_testkit::lab::{ROUTERS, SERVER4, SERVER6};

/// The only addresses of the pool, on the network `out`.
pub(crate) const VIPS: [&str; 2] = ["172.16.1.100", "fd00:16::100"];

pub(crate) fn vips() -> Result<Vec<IpAddr>> {
    VIPS.iter().map(|vip| vip.parse().context("no address")).collect()
}

/// A route by router b.
pub(crate) fn route() -> Value {
    json!({
        "apiVersion": "sortie.dev/v1alpha1", "kind": "ServiceOutboundRoute", "metadata": {"name": "b"},
        "spec": {"nextHops": hops("b"), "allowedNamespaces": {"from": "All"}},
    })
}

/// Next hops at a router of the network `out`, `b` or `c`.
pub(crate) fn hops(router: &str) -> Value {
    let (four, six) = GATEWAYS[ROUTERS.iter().position(|name| *name == router).unwrap_or(0)];
    json!([{"gateway": four, "device": "eth1"}, {"gateway": six, "device": "eth1"}])
}

/// A pool with [`VIPS`], and a Service of all pods with these labels, which get its addresses for everything they send.
pub(crate) fn service(selector: &Value) -> Vec<Value> {
    let pool = json!({
        "apiVersion": "sortie.dev/v1alpha1", "kind": "AddressPool", "metadata": {"name": "public"},
        "spec": {"addresses": [format!("{}/32", VIPS[0]), format!("{}/128", VIPS[1])], "allowedNamespaces": {"from": "All"}},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "sip", "annotations": {"sortie.dev/route": "b", "sortie.dev/egress": "true"}},
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "sortie.dev/vip", "ipFamilyPolicy": "RequireDualStack",
            "allocateLoadBalancerNodePorts": false, "selector": selector, "ports": [{"port": 5060, "protocol": "UDP"}],
        },
    });
    vec![pool, service]
}

/// What pods of one kind have in common.
pub(crate) struct Pods<'a> {
    /// Value of their label `app`, and how their names begin.
    pub(crate) app: &'a str,
    /// More labels.
    pub(crate) labels: Value,
    pub(crate) annotations: Value,
    /// Words for `probe`; `$(POD)` is the pod's name.
    pub(crate) words: Vec<String>,
}

impl Pods<'_> {
    /// Keeps so many of them.
    pub(crate) fn deployment(&self, count: usize) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": self.app},
            "spec": {
                "replicas": count, "selector": {"matchLabels": {"app": self.app}}, "template": self.template("Always"),
                // More at once would be more than a small machine with three nodes can start.
                "strategy": {"rollingUpdate": {"maxSurge": 6, "maxUnavailable": 0}},
            },
        })
    }

    /// Runs so many of them to their end, some at a time.
    pub(crate) fn job(&self, (count, at_once): (usize, usize)) -> Value {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": self.app},
            "spec": {"completions": count, "parallelism": at_once, "template": self.template("Never")},
        })
    }

    /// One that a kubelet reads from a file.
    pub(crate) fn alone(&self, namespace: &str) -> Value {
        let mut pod = self.template("Always");
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = self.app.into();
        pod["metadata"]["namespace"] = namespace.into();
        pod
    }

    fn template(&self, restart: &str) -> Value {
        let mut labels = self.labels.clone();
        labels["app"] = self.app.into();
        let words: Vec<&str> = std::iter::once("/probe").chain(self.words.iter().map(String::as_str)).collect();
        json!({
            "metadata": {"labels": labels, "annotations": self.annotations},
            "spec": {
                "terminationGracePeriodSeconds": 0, "restartPolicy": restart, "automountServiceAccountToken": false,
                "topologySpreadConstraints": [{
                    "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {"app": self.app}},
                }],
                "containers": [{
                    "name": "probe", "image": "docker.io/sortie/probe:1", "imagePullPolicy": "IfNotPresent", "command": words,
                    "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                }],
            },
        })
    }
}

/// Words that send datagrams for ever, one to each address of the server in so many milliseconds.
pub(crate) fn send(pause: u32) -> Vec<String> {
    [vec!["send".to_owned(), "$(POD)".to_owned(), pause.to_string()], both()].concat()
}

/// Words that send so many datagrams and end.
pub(crate) fn burst(count: u32, pause: u32) -> Vec<String> {
    [vec!["burst".to_owned(), "$(POD)".to_owned(), count.to_string(), pause.to_string()], both()].concat()
}

/// Words that keep one connection of version 4 or 6, by `family` 0 or 1.
pub(crate) fn hold(family: usize, pause: u32) -> Vec<String> {
    let to = both().swap_remove(family);
    vec!["hold".to_owned(), "$(POD)".to_owned(), pause.to_string(), to]
}

fn both() -> Vec<String> {
    vec![format!("{SERVER4}:7000"), format!("[{SERVER6}]:7000")]
}
