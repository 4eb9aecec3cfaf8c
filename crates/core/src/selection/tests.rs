//! Worlds and attachments for the tests of selection.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;

use super::*;
use crate::model::{
    AllowedNamespaces, Egress, EgressPolicy, Health, HealthMode, Kind, LabelSelector, Labels, Meta, Namespace, NextHop,
    Node, Object, ObjectName, Pod, PodReference, PortMatch, Service, ServiceOutboundRoute, ServicePort, Source,
    TargetPort, WhenUnavailable,
};

mod account;
mod conditions;
mod expansion;
mod laws;
mod precedence;
mod references;
mod services;

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn key(kind: Kind, namespace: &str, object: &str) -> ObjectKey {
    ObjectKey { kind, name: name(namespace, object) }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn selector(pairs: &[(&str, &str)]) -> LabelSelector {
    LabelSelector { match_labels: labels(pairs), match_expressions: Vec::new() }
}

fn networks(list: &[&str]) -> Vec<IpNetwork> {
    list.iter().map(|n| n.parse().unwrap()).collect()
}

fn ports(list: &[(Protocol, u16, u16)]) -> Vec<PortMatch> {
    list.iter().map(|(protocol, first, last)| PortMatch { protocol: *protocol, ports: range(*first, *last) }).collect()
}

fn range(first: u16, last: u16) -> PortRange {
    PortRange { first, last }
}

/// All traffic by a route.
fn by(route: &str) -> Egress {
    Egress {
        route: Some(route.to_owned()),
        ports: Vec::new(),
        destination_ports: Vec::new(),
        destinations: Vec::new(),
        except_destinations: Vec::new(),
        source: Source::Device,
    }
}

fn path(route: &str) -> PathKey {
    PathKey::Route { route: route.to_owned(), source: PathSource::Device }
}

fn route(name: &str) -> ServiceOutboundRoute {
    ServiceOutboundRoute {
        name: name.to_owned(),
        meta: Meta::default(),
        next_hops: vec![NextHop {
            gateway: Some("192.168.50.1".parse().unwrap()),
            device: None,
            weight: 1,
            backup: false,
        }],
        destinations: Vec::new(),
        except_destinations: Vec::new(),
        node_selector: None,
        allowed_namespaces: AllowedNamespaces::All,
        when_unavailable: WhenUnavailable::Drop,
        health: Health { mode: HealthMode::None, interval_milliseconds: 1000, failures: 3, target: None },
        mtu: None,
        table_id: None,
        given_table: None,
    }
}

fn policy(object: &str, egress: Egress) -> EgressPolicy {
    EgressPolicy { name: name("core", object), meta: Meta::default(), pod_selector: LabelSelector::default(), egress }
}

/// Pod `core/sip-1` with label `app=sip`.
fn pod(egress: Vec<Egress>) -> Pod {
    let meta = Meta { labels: labels(&[("app", "sip")]), uid: "u1".to_owned(), ..Meta::default() };
    Pod { name: name("core", "sip-1"), meta, egress, ..Pod::default() }
}

fn namespace(egress: Vec<Egress>) -> Namespace {
    Namespace { name: "core".to_owned(), egress, ..Namespace::default() }
}

fn node(pod_cidr: &str) -> Node {
    Node { name: "node-1".to_owned(), pod_cidrs: networks(&[pod_cidr]), ..Node::default() }
}

fn annotated_service(object: &str, annotations: &[(&str, &str)]) -> Service {
    Service {
        name: name("core", object),
        meta: Meta { annotations: labels(annotations), ..Meta::default() },
        selector: labels(&[("app", "sip")]),
        ports: vec![ServicePort { protocol: Protocol::Udp, port: 5060, target: TargetPort::Number(5060) }],
        ..Service::default()
    }
}

/// Attachment of `core/sip-1` whose runtime knows no annotations.
fn attachment() -> Attachment {
    Attachment {
        container_id: "c1".to_owned(),
        interface: "eth0".to_owned(),
        netns: "/run/netns/c1".to_owned(),
        network: "net".to_owned(),
        pod: Some(PodReference { namespace: "core".to_owned(), name: "sip-1".to_owned(), uid: "u1".to_owned() }),
        addresses: vec!["10.244.0.5".parse().unwrap()],
        annotations: BTreeMap::new(),
        routes: Vec::new(),
    }
}

/// Routes `a`, `b` and `c`, which everybody may use, and these objects.
fn world(objects: impl IntoIterator<Item = Object>) -> World {
    World::of(["a", "b", "c"].map(|n| Object::Route(route(n))).into_iter().chain(objects))
}

fn flows(world: &World) -> Vec<Flow> {
    select(world, &attachment()).unwrap().flows
}

fn accepted(world: &World, object: &ObjectKey) -> Condition {
    let all = super::conditions(world, &[&attachment()]);
    all.into_iter().find(|c| c.kind == "Accepted" && c.object == *object).unwrap()
}
