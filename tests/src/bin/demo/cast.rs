//! Who takes part: routes, pods, their flows and the way each must take.
//!
//! Guarantees: every flow has a source port of its own, by which the far end recognises it whatever its source address
//! has become.

use std::net::IpAddr;

use sortie_testkit::lab::{NODE4, NODE6, PORTS, server4, server6};
use sortie_testkit::{Flow, PodSpec, manifest};

use crate::stage::Key;
use crate::verdict::{Expected, Way};

/// Namespace of every pod; its label lets it use the routes.
const NAMESPACE: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: core, labels: {network: telco}}
";

/// A pod that expresses nothing itself; the policy selects it by its label.
const MEDIA: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: media, namespace: core, labels: {app: media}}
spec: {nodeName: node1}
";

/// Node, namespace, the route `signalling` and a policy.
pub(crate) fn manifests() -> String {
    let spec = "podSelector: {matchLabels: {app: media}}, route: signalling, \
                ports: [{protocol: UDP, port: 10000, endPort: 20000}]";
    let policy = manifest::policy("core", "media", spec);
    manifest::all(&[manifest::node(), NAMESPACE.into(), route("signalling", "b"), MEDIA.into(), policy])
}

/// The route that is edited: by router `c` first, by router `b` later.
pub(crate) fn billing(router: &str) -> String {
    route("billing", router)
}

fn route(name: &str, router: &str) -> String {
    format!(
        "apiVersion: sortie.dev/v1alpha1\nkind: ServiceOutboundRoute\nmetadata: {{name: {name}}}\nspec:\n  \
         nextHops: [{}]\n  allowedNamespaces: {{from: Selector, selector: {{matchLabels: {{network: telco}}}}}}\n",
        manifest::hops(router, "")
    )
}

/// A pod: name, annotations, flows with the route each must take.
pub(crate) struct Role {
    pub(crate) spec: PodSpec,
    pub(crate) lines: Vec<Line>,
}

/// One flow of a pod.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) flow: Flow,
    pub(crate) route: Route,
}

/// Where a flow belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Router b, address of the device.
    Signalling,
    /// Router c, later b; the pod's own address.
    Billing,
    /// Router a, address of the node.
    Main,
}

/// Every pod of the first scene.
pub(crate) fn roles() -> Vec<Role> {
    let [one, two, three] = PORTS;
    let line = |route| move |flow| Line { flow, route };
    let (signalling, billing, main) = (line(Route::Signalling), line(Route::Billing), line(Route::Main));
    vec![
        Role {
            spec: pod("sip").with("route", "signalling").with("ports", "udp:5060,sctp:3868"),
            lines: vec![
                signalling(Flow::udp(5060, server4(one))),
                signalling(Flow::udp(5060, server6(one))),
                signalling(Flow::sctp(3868, server4(two))),
                main(Flow::tcp(40_001, server4(three))),
                main(Flow::udp(40_001, server6(three))),
            ],
        },
        Role {
            spec: pod("charging").with("routes", CHARGING),
            lines: vec![
                billing(Flow::tcp(8443, server4(one))),
                billing(Flow::tcp(8443, server6(one))),
                signalling(Flow::udp(5062, server4(two))),
                main(Flow::udp(40_002, server4(three))),
            ],
        },
        Role {
            spec: pod("media"),
            lines: vec![signalling(Flow::udp(12_000, server4(one))), main(Flow::tcp(40_003, server4(two)))],
        },
        Role {
            spec: pod("plain"),
            lines: vec![main(Flow::udp(5064, server4(one))), main(Flow::tcp(8445, server6(two)))],
        },
    ]
}

/// A pod that asks for nothing, in a namespace that no policy selects, started while the helper is away.
pub(crate) fn latecomer() -> Role {
    let flow = Flow::udp(5066, server4(PORTS[0]));
    Role { spec: PodSpec::new("late").namespace("web"), lines: vec![Line { flow, route: Route::Main }] }
}

/// Two routes at once: one keeps the pod's own address.
const CHARGING: &str = r#"[
    {"route": "billing", "ports": [{"protocol": "TCP", "port": 8443}], "source": {"type": "Pod"}},
    {"route": "signalling", "ports": [{"protocol": "UDP", "port": 5062}]}
]"#;

fn pod(name: &str) -> PodSpec {
    PodSpec::new(name).namespace("core")
}

impl Line {
    /// By what the far end recognises it.
    pub(crate) fn key(self) -> Key {
        (self.flow.transport.number(), self.flow.port, self.flow.to.is_ipv4())
    }

    /// What must be seen of it, for a pod with these addresses while `billing` leaves by router `by`.
    pub(crate) fn expected(self, pod: &str, addresses: &[IpAddr], by: &'static str) -> Expected {
        let is_v4 = self.flow.to.is_ipv4();
        let node = |index: usize| if is_v4 { IpAddr::V4(NODE4[index]) } else { IpAddr::V6(NODE6[index]) };
        let own = addresses.iter().copied().find(|address| address.is_ipv4() == is_v4);
        let (route, router, source) = match self.route {
            Route::Signalling => ("signalling", "b", Some(node(1))),
            Route::Billing => ("billing", by, own),
            Route::Main => ("main", "a", Some(node(0))),
        };
        let family = if is_v4 { "" } else { " v6" };
        let name = format!("{pod} {}:{}{family}", self.flow.transport.name(), self.flow.port);
        Expected { name, route, way: source.map(|source| Way { router, source }), before: None }
    }
}
