//! What the API should say by one node.

use sortie_core::model::{AddressPool, EgressPolicy, Kind, LabelSelector, ObjectName, Reason, Service};

use super::*;
use crate::due::{Entry, Standing};

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// A policy of all pods of namespace `telco`, made in that second.
fn policy(object: &str, second: u8) -> Object {
    let created = format!("2020-01-01T00:00:{second:02}Z");
    let meta = sortie_core::model::Meta { created, uid: object.to_owned(), ..Default::default() };
    let pod_selector = LabelSelector::default();
    Object::Policy(EgressPolicy { name: name("telco", object), meta, pod_selector, egress: wish() })
}

fn stage(more: Vec<Object>) -> Stage {
    let mut stage = Stage::new(settings());
    stage.set_world(world().into_iter().chain(more).collect());
    stage.reconcile();
    stage
}

fn entry(stage: &Stage, kind: Kind, name: &ObjectName) -> Option<Entry> {
    stage.node.due().entries.unwrap().get(&kind).and_then(|of_kind| of_kind.get(name)).cloned()
}

fn said(stage: &Stage, policy: &str) -> Option<((u64, u64), Reason)> {
    let entry = entry(stage, Kind::EgressPolicy, &name("telco", policy))?;
    Some((entry.pods.unwrap(), entry.reason))
}

fn set_up(stage: &mut Stage, up: impl Fn(&mut Device)) {
    stage.node.platform.facts.devices.values_mut().for_each(up);
    stage.reconcile();
}

#[test]
fn a_policy_counts_pods_and_those_that_cannot_leave() {
    let mut stage = stage(vec![policy("sip", 1)]);
    assert_eq!(said(&stage, "sip"), None);
    for (container, address) in [("c1", "10.244.1.7"), ("c2", "10.244.1.8")] {
        stage.attach(selected(container, address));
    }
    stage.attach(attachment("c3", "10.244.1.9"));
    assert_eq!(said(&stage, "sip"), Some(((2, 2), Reason::Programmed)));
    set_up(&mut stage, |device| device.up = false);
    assert_eq!(said(&stage, "sip"), Some(((2, 0), Reason::DeviceMissing)));
    set_up(&mut stage, |device| device.up = true);
    assert_eq!(said(&stage, "sip"), Some(((2, 2), Reason::Programmed)));
}

#[test]
fn a_policy_that_another_one_beats_says_so() {
    let mut young = policy("young", 2);
    if let Object::Policy(policy) = &mut young {
        policy.egress.source = Source::Pod;
    }
    let mut stage = stage(vec![policy("old", 1), young]);
    stage.attach(selected("c1", "10.244.1.7"));
    assert_eq!(said(&stage, "old"), Some(((1, 1), Reason::Programmed)));
    assert_eq!(said(&stage, "young"), Some(((1, 0), Reason::Conflicted)));
}

#[test]
fn a_kernel_that_does_not_follow_is_told_of_routes_and_policies() {
    let mut stage = stage(vec![policy("sip", 1)]);
    stage.attach(selected("c1", "10.244.1.7"));
    let route = name("", "out");
    assert_eq!(entry(&stage, Kind::ServiceOutboundRoute, &route), None);
    stage.node.ready = Err("the kernel refuses".to_owned());
    assert_eq!(entry(&stage, Kind::ServiceOutboundRoute, &route).map(|entry| entry.reason), Some(Reason::Pending));
    assert_eq!(said(&stage, "sip"), Some(((1, 0), Reason::Pending)));
}

#[test]
fn a_route_says_whether_the_device_or_the_next_hop_is_missing() {
    let mut stage = stage(Vec::new());
    let route = name("", "out");
    let reason = |stage: &Stage| entry(stage, Kind::ServiceOutboundRoute, &route).map(|entry| entry.reason);
    stage.node.set_dead_hops([(DeviceName("eth1".to_owned()), "192.168.50.1".parse().unwrap())].into());
    stage.reconcile();
    assert_eq!(reason(&stage), Some(Reason::NextHopUnreachable));
    stage.node.platform.facts.devices.clear();
    stage.reconcile();
    assert_eq!(reason(&stage), Some(Reason::DeviceMissing));
}

fn service(class: &str) -> Object {
    let annotations = [("sortie.dev/route".to_owned(), "out".to_owned())].into();
    let ports = vec![sortie_core::model::ServicePort {
        protocol: sortie_core::model::Protocol::Udp,
        port: 5060,
        target: sortie_core::model::TargetPort::Number(5060),
    }];
    Object::Service(Service {
        name: name("telco", "web"),
        meta: sortie_core::model::Meta { annotations, ..Default::default() },
        selector: [("app".to_owned(), "web".to_owned())].into(),
        ports,
        load_balancer: true,
        class: class.to_owned(),
        ..Service::default()
    })
}

fn pool() -> Object {
    Object::Pool(AddressPool {
        name: "public".to_owned(),
        meta: Default::default(),
        addresses: vec![("192.168.50.100".parse().unwrap(), "192.168.50.100".parse().unwrap())],
        devices: Vec::new(),
        allowed_namespaces: AllowedNamespaces::All,
        node_selector: None,
    })
}

fn standing(stage: &Stage) -> (Option<String>, bool, Reason) {
    let Standing { owner, ready, .. } = stage.node.due().standings.unwrap().here[&name("telco", "web")].clone();
    (owner, ready.holds, ready.reason)
}

#[test]
fn a_service_says_its_owner_and_what_is_in_the_way() {
    let mut owned = stage(vec![pool(), service(Service::CLASS)]);
    let me = Some("n1".to_owned());
    assert_eq!(standing(&owned), (me.clone(), true, Reason::Programmed));
    set_up(&mut owned, |device| device.up = false);
    assert_eq!(standing(&owned), (me, false, Reason::DeviceMissing));
    assert_eq!(standing(&stage(vec![service(Service::CLASS)])), (None, false, Reason::NoAddress));
    assert_eq!(standing(&stage(vec![pool(), service("other")])), (None, false, Reason::NoAddress));
}
