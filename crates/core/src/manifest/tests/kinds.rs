//! Core kinds, policies and pools.

use std::net::IpAddr;

use super::{accepted, all_accepted, all_refused, ours, refused};
use crate::model::{
    AddressPool, AllowedNamespaces, EgressPolicy, Kind, Namespace, Node, Object, Pod, PortMatch, PortRange, Protocol,
    Service, Source, TargetPort,
};

fn core(kind: Kind, metadata: &str, rest: &str) -> String {
    format!("apiVersion: v1\nkind: {kind:?}\nmetadata: {{name: a, {metadata}}}\n{rest}\n")
}

fn pod(metadata: &str, rest: &str) -> Pod {
    let Object::Pod(pod) = accepted(&core(Kind::Pod, metadata, rest)) else { panic!() };
    pod
}

fn node(metadata: &str, rest: &str) -> Node {
    let Object::Node(node) = accepted(&core(Kind::Node, metadata, rest)) else { panic!() };
    node
}

fn service(metadata: &str, rest: &str) -> Service {
    let Object::Service(service) = accepted(&core(Kind::Service, metadata, rest)) else { panic!() };
    service
}

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|a| a.parse().unwrap()).collect()
}

#[test]
fn metadata_keeps_what_selection_needs() {
    let meta = pod(
        "labels: {app: sip}, uid: u-1, creationTimestamp: '2026-01-02T03:04:05Z', generateName: x, \
         annotations: {sortie.dev/route: r, kubernetes.io/config.mirror: m, other/x: 'y', other/n: 5}",
        "",
    )
    .meta;
    assert_eq!(meta.labels.get("app").map(String::as_str), Some("sip"));
    assert_eq!((meta.uid.as_str(), meta.created.as_str()), ("u-1", "2026-01-02T03:04:05Z"));
    let kept: Vec<_> = meta.annotations.keys().map(String::as_str).collect();
    assert_eq!(kept, ["kubernetes.io/config.mirror", "sortie.dev/route"]);
}

#[test]
fn a_pod_is_read() {
    let found = pod(
        "annotations: {sortie.dev/route: r}",
        "spec: {nodeName: n1, hostNetwork: true, x: y, containers: [{name: c, ports: [{name: sip, containerPort: 5060, \
         protocol: UDP}, {containerPort: 1}]}, {ports: [{name: web, containerPort: 80}, {name: sip, containerPort: 9}]}]}\n\
         status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}], phase: Running}",
    );
    assert_eq!((found.node.as_str(), found.host_network), ("n1", true));
    assert_eq!(found.addresses, addresses(&["10.0.0.1", "fd00::1"]));
    let port = |protocol, n| PortMatch { protocol, ports: PortRange { first: n, last: n } };
    let named: Vec<_> = found.named_ports.into_iter().collect();
    assert_eq!(named, [("sip".to_owned(), port(Protocol::Udp, 5060)), ("web".to_owned(), port(Protocol::Tcp, 80))]);
    assert_eq!(found.egress[0].route.as_deref(), Some("r"));
    assert_eq!(pod("", "status: {podIP: 10.0.0.1}").addresses, addresses(&["10.0.0.1"]));
    for ended in ["Succeeded", "Failed"] {
        let status = format!("status: {{podIP: 10.0.0.1, podIPs: [{{ip: 10.0.0.1}}], phase: {ended}}}");
        assert_eq!(pod("", &status).addresses, [] as [std::net::IpAddr; 0], "its address may be another's");
    }
}

#[test]
fn a_namespace_carries_what_its_annotations_ask_for() {
    let text = core(Kind::Namespace, "annotations: {sortie.dev/route: r}", "");
    let Object::Namespace(Namespace { egress, .. }) = accepted(&text) else { panic!() };
    assert_eq!(egress[0].route.as_deref(), Some("r"));
}

#[test]
fn a_node_is_read() {
    let found = node(
        "annotations: {sortie.dev/node-number: '7'}",
        "spec: {podCIDR: 10.1.0.0/24, podCIDRs: [10.1.0.0/24, 'fd00:1::/64']}\nstatus: {addresses: [{type: InternalIP, \
         address: 192.0.2.1}, {type: Hostname, address: n1}, {type: ExternalIP, address: '2001:db8::1'}]}",
    );
    assert_eq!(found.number, Some(7));
    assert_eq!(found.addresses, addresses(&["192.0.2.1", "2001:db8::1"]));
    assert_eq!(found.pod_cidrs.len(), 2);
    let old = node("", "spec: {podCIDR: 10.1.0.0/24}");
    assert_eq!((old.number, old.pod_cidrs), (None, vec!["10.1.0.0/24".parse().unwrap()]));
}

#[test]
fn a_service_is_read() {
    let found = service(
        "annotations: {sortie.dev/route: r, sortie.dev/owner-node: n1}",
        "spec: {type: LoadBalancer, loadBalancerClass: sortie.dev/vip, selector: {app: sip}, ports: [{port: 1}, {port: 2, \
         targetPort: 3, protocol: UDP}, {port: 4, targetPort: web}]}\n\
         status: {loadBalancer: {ingress: [{ip: 192.0.2.9, ipMode: VIP}, {hostname: x}, {ip: 'fd00::9'}]}}",
    );
    assert!(found.load_balancer);
    assert_eq!(found.class, "sortie.dev/vip");
    assert_eq!(found.addresses, addresses(&["192.0.2.9", "fd00::9"]));
    let targets: Vec<_> = found.ports.into_iter().map(|p| (p.protocol, p.port, p.target)).collect();
    let expected = [
        (Protocol::Tcp, 1, TargetPort::Number(1)),
        (Protocol::Udp, 2, TargetPort::Number(3)),
        (Protocol::Tcp, 4, TargetPort::Name("web".to_owned())),
    ];
    assert_eq!(targets, expected);
    assert!(!service("", "spec: {type: ClusterIP}").load_balancer);
}

#[test]
fn malformed_core_objects_are_refused_by_field() {
    let number = "metadata.annotations.sortie.dev/node-number";
    let table = [
        (Kind::Node, "annotations: {sortie.dev/node-number: '0'}", "", number),
        (Kind::Node, "annotations: {sortie.dev/node-number: '65536'}", "", number),
        (Kind::Node, "annotations: {sortie.dev/node-number: '+1'}", "", number),
        (Kind::Node, "annotations: {sortie.dev/node-number: 7}", "", number),
        (Kind::Node, "annotations: {sortie.dev/route: r}", "", "metadata.annotations.sortie.dev/route"),
        (Kind::Node, "", "spec: {podCIDRs: [10.1.0.1/24]}", "spec.podCIDRs[0]"),
        (Kind::Node, "", "status: {addresses: [{type: InternalIP, address: x}]}", "status.addresses[0].address"),
        (Kind::Pod, "annotations: {sortie.dev/rout: r}", "", "metadata.annotations.sortie.dev/rout"),
        (Kind::Pod, "annotations: []", "", "metadata.annotations"),
        (Kind::Pod, "labels: {a: 1}", "", "metadata.labels.a"),
        (Kind::Pod, "", "spec: {hostNetwork: 'yes'}", "spec.hostNetwork"),
        (Kind::Pod, "", "spec: []", "spec"),
        (Kind::Pod, "", "status: {podIPs: [{ip: 10.0.0}]}", "status.podIPs[0].ip"),
        (
            Kind::Pod,
            "",
            "spec: {containers: [{ports: [{name: a, containerPort: 0}]}]}",
            "spec.containers[0].ports[0].containerPort",
        ),
        (Kind::Namespace, "annotations: {sortie.dev/ports: 'udp:1'}", "", "metadata.annotations.sortie.dev/ports"),
        (Kind::Service, "annotations: {sortie.dev/ports: 'udp:1'}", "", "metadata.annotations.sortie.dev/ports"),
        (Kind::Service, "", "spec: {ports: [{port: 70000}]}", "spec.ports[0].port"),
        (Kind::Service, "", "spec: {ports: [{port: 1, targetPort: 0}]}", "spec.ports[0].targetPort"),
        (Kind::Service, "", "spec: {ports: [{port: 1, protocol: ICMP}]}", "spec.ports[0].protocol"),
        (Kind::Service, "", "status: {loadBalancer: {ingress: [{ip: x}]}}", "status.loadBalancer.ingress[0].ip"),
    ];
    for (kind, metadata, rest, field) in table {
        let found = refused(&core(kind, metadata, rest));
        assert_eq!(found.field, field, "{found}");
    }
}

#[test]
fn annotations_of_kinds_of_ours_are_refused() {
    let text = ours("AddressPool", "addresses: [192.0.2.1], allowedNamespaces: {from: All}")
        .replace("{name: a}", "{name: a, annotations: {sortie.dev/route: r}, finalizers: [x]}");
    assert_eq!(refused(&text).field, "metadata.annotations.sortie.dev/route");
}

#[test]
fn a_policy_is_read() {
    let text = ours(
        "EgressPolicy",
        "podSelector: {matchLabels: {app: sip}, matchExpressions: [{key: x, operator: Exists}]}, route: r, \
         ports: [{protocol: UDP, port: 5060, endPort: 5070}], destinationPorts: [{protocol: TCP, port: 443}], \
         destinations: [10.20.0.0/16], exceptDestinations: [10.20.1.0/24], source: {type: Service, serviceName: sip}",
    );
    let Object::Policy(EgressPolicy { pod_selector, egress, .. }) = accepted(&text) else { panic!() };
    assert_eq!((pod_selector.match_labels.len(), pod_selector.match_expressions.len()), (1, 1));
    assert_eq!(egress.ports, [PortMatch { protocol: Protocol::Udp, ports: PortRange { first: 5060, last: 5070 } }]);
    assert_eq!((egress.route.as_deref(), egress.source), (Some("r"), Source::Service("sip".to_owned())));
    assert_eq!((egress.destinations.len(), egress.except_destinations.len()), (1, 1));
    all_accepted(
        "EgressPolicy",
        &[
            "podSelector: {}, route: r",
            "podSelector: {}, source: {type: Service, serviceName: s}",
            "podSelector: {}, route: r, ports: null",
        ],
    );
}

#[test]
fn malformed_policies_are_refused_by_field() {
    all_refused(
        "EgressPolicy",
        &[
            ("", "spec.podSelector"),
            ("route: r", "spec.podSelector"),
            ("podSelector: {app: sip}, route: r", "spec.podSelector.app"),
            ("podSelector: {matchLabels: {a: 1}}, route: r", "spec.podSelector.matchLabels.a"),
            (
                "podSelector: {matchExpressions: [{key: a, operator: in}]}, route: r",
                "spec.podSelector.matchExpressions[0].operator",
            ),
            (
                "podSelector: {matchExpressions: [{key: a, operator: In}]}, route: r",
                "spec.podSelector.matchExpressions[0]",
            ),
            (
                "podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}, route: r",
                "spec.podSelector.matchExpressions[0]",
            ),
            (
                "podSelector: {matchExpressions: [{key: '', operator: Exists}]}, route: r",
                "spec.podSelector.matchExpressions[0].key",
            ),
            ("podSelector: {}", "spec.route"),
            ("podSelector: {}, source: {type: Pod}", "spec.route"),
            ("podSelector: {}, route: ''", "spec.route"),
            ("podSelector: {}, route: r, source: pod", "spec.source"),
            ("podSelector: {}, route: r, source: {type: Service}", "spec.source.serviceName"),
            ("podSelector: {}, route: r, source: {type: Device, serviceName: s}", "spec.source.serviceName"),
            ("podSelector: {}, route: r, source: {serviceName: s}", "spec.source.type"),
            ("podSelector: {}, route: r, ports: ['udp:1']", "spec.ports[0]"),
            ("podSelector: {}, route: r, ports: {}", "spec.ports"),
            ("podSelector: {}, route: r, ports: [{protocol: ICMP, port: 1}]", "spec.ports[0].protocol"),
            ("podSelector: {}, route: r, ports: [{protocol: UDP}]", "spec.ports[0].port"),
            ("podSelector: {}, route: r, ports: [{protocol: UDP, port: 0}]", "spec.ports[0].port"),
            ("podSelector: {}, route: r, ports: [{protocol: UDP, port: 5, endPort: 4}]", "spec.ports[0].endPort"),
            ("podSelector: {}, route: r, destinations: [10.0.0.1/8]", "spec.destinations[0]"),
            ("podSelector: {}, route: r, routes: []", "spec.routes"),
        ],
    );
}

#[test]
fn a_pool_is_read() {
    let text = ours(
        "AddressPool",
        "addresses: [192.0.2.100-192.0.2.199, 'fd50::100/120', 192.0.2.7], devices: [eth1], allowedNamespaces: {from: All}",
    );
    let Object::Pool(AddressPool { addresses: found, devices, allowed_namespaces, .. }) = accepted(&text) else {
        panic!()
    };
    let ends = |a: &str, b: &str| (a.parse::<IpAddr>().unwrap(), b.parse::<IpAddr>().unwrap());
    let expected = [ends("192.0.2.100", "192.0.2.199"), ends("fd50::100", "fd50::1ff"), ends("192.0.2.7", "192.0.2.7")];
    assert_eq!(found, expected);
    assert_eq!((devices.len(), allowed_namespaces), (1, AllowedNamespaces::All));
}

#[test]
fn malformed_pools_are_refused_by_field() {
    all_refused(
        "AddressPool",
        &[
            ("allowedNamespaces: {from: All}", "spec.addresses"),
            ("addresses: [], allowedNamespaces: {from: All}", "spec.addresses"),
            ("addresses: [192.0.2.9-192.0.2.1], allowedNamespaces: {from: All}", "spec.addresses[0]"),
            ("addresses: ['192.0.2.9-fd00::1'], allowedNamespaces: {from: All}", "spec.addresses[0]"),
            ("addresses: [192.0.2.9/24], allowedNamespaces: {from: All}", "spec.addresses[0]"),
            ("addresses: [127.0.0.1], allowedNamespaces: {from: All}", "spec.addresses[0]"),
            ("addresses: [x], allowedNamespaces: {from: All}", "spec.addresses[0]"),
            ("addresses: [192.0.2.1]", "spec.allowedNamespaces"),
            ("addresses: [192.0.2.1], allowedNamespaces: {from: All}, devices: [a/b]", "spec.devices[0]"),
            ("addresses: [192.0.2.1], allowedNamespaces: {from: All}, device: eth1", "spec.device"),
        ],
    );
}
