//! One packet explained, over the small node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use sortie_core::desired::{Peering, PerPodRules, Skeleton};
use sortie_core::explain::{Explanation, Finding, Outcome, Question, Scene, Transport, explain};
use sortie_core::ids::{EXIT_MAIN, EXIT_NONE, EXIT_TUNNEL, TABLE_MAIN, TABLE_TUNNEL};
use sortie_core::model::{Attachment, DeviceName, ObjectName, PodReference, WhenUnavailable};
use sortie_core::selection::PathKey;
use sortie_core::steering::{Offer, Peers};
use sortie_core::world::{NodeFacts, World};

use crate::fixture::{addresses, built, built_beside, node, signalling};
use crate::vips::service;

type Place = (World, NodeFacts);

/// The pod `core/sip`, all of whose traffic asks for a route, unless another annotation is given.
fn attachment(annotation: (&str, &str)) -> Attachment {
    let mut annotations = BTreeMap::from([("sortie.dev/route".to_owned(), "signalling".to_owned())]);
    annotations.insert(annotation.0.to_owned(), annotation.1.to_owned());
    Attachment {
        container_id: "c1".into(),
        interface: "eth0".into(),
        netns: String::new(),
        network: "net".into(),
        pod: Some(PodReference { namespace: "core".into(), name: "sip".into(), uid: String::new() }),
        addresses: addresses().to_vec(),
        annotations,
        routes: Vec::new(),
    }
}

fn question(to: &str) -> Question {
    Question {
        pod: ObjectName { namespace: "core".into(), name: "sip".into() },
        protocol: Transport::Udp,
        source_port: Some(5060),
        destination: to.parse().unwrap(),
        destination_port: Some(7000),
    }
}

fn told_by(place: &Place, skeleton: &Skeleton, (attachment, to): (&Attachment, &str)) -> Explanation {
    let owners = skeleton.remote.keys().filter_map(|path| Some((path.service()?.clone(), "n2".to_owned())));
    let scene = Scene {
        world: &place.0,
        node: "n1",
        skeleton,
        devices: &place.1.devices,
        mode: PerPodRules::Present,
        owners: &owners.collect(),
        leased: &BTreeSet::new(),
    };
    explain(&scene, attachment, &question(to))
}

fn told(place: &Place, to: &str) -> Explanation {
    told_by(place, &built(place), (&attachment(("sortie.dev/source", "device")), to))
}

fn fails(told: &Explanation, check: &str) -> String {
    let failed = told.checks.iter().find(|c| c.check == check && c.finding == Finding::Fails);
    failed.unwrap_or_else(|| panic!("no failed check {check} in {told:#?}")).message.clone()
}

#[test]
fn a_selected_packet_leaves_by_its_route_with_the_address_of_the_device() {
    for (to, gateway, own) in
        [("192.0.2.10", "172.16.1.1", "172.16.1.11"), ("2001:db8::10", "fd00:16::1", "fd00:16::11")]
    {
        let told = told(&node(signalling()), to);
        let way = told.way.as_ref().unwrap();
        assert_eq!((told.outcome, way.route.as_str(), way.table, way.exit), (Outcome::Route, "signalling", 10_000, 1));
        let hops: Vec<_> = way.next_hops.iter().map(|hop| (hop.gateway, hop.device.as_str())).collect();
        assert_eq!(hops, [(gateway.parse().ok(), "eth1")]);
        assert_eq!(told.source.as_ref().unwrap().addresses, [own.parse::<IpAddr>().unwrap()]);
        assert!(told.is_sound() && told.decided_by.is_some(), "{told:#?}");
    }
}

#[test]
fn a_host_on_the_routes_own_network_is_reached_directly() {
    let told = told(&node(signalling()), "172.16.1.77");
    assert_eq!(told.way.unwrap().next_hops[0].gateway, None);
}

#[test]
fn the_cluster_and_unselected_flows_take_the_main_table() {
    let place = node(signalling());
    for to in ["10.244.3.4", "10.10.0.11", "169.254.1.1", "224.0.0.1", "ff02::1"] {
        let told = told(&place, to);
        assert_eq!((told.outcome, told.way.as_ref().unwrap().table), (Outcome::MainTable, TABLE_MAIN), "{to}");
        assert!(told.summary.contains("never selected"), "{told:#?}");
    }
    let narrow = attachment(("sortie.dev/ports", "udp:5070"));
    let told = told_by(&place, &built(&place), (&narrow, "192.0.2.10"));
    let way = told.way.as_ref().unwrap();
    assert_eq!((told.outcome, way.exit), (Outcome::MainTable, EXIT_MAIN), "past the per-pod rules");
    assert_eq!(told.others[0].why, "another source port");
}

#[test]
fn without_a_usable_next_hop_it_is_dropped_or_falls_back_as_the_route_says() {
    let (world, mut facts) = node(signalling());
    facts.dead_hops.insert((DeviceName("eth1".into()), "172.16.1.1".parse().unwrap()));
    let dead = told(&(world, facts), "192.0.2.10");
    assert_eq!((dead.outcome, dead.way.as_ref().unwrap().exit), (Outcome::Dropped, EXIT_NONE));
    assert!(fails(&dead, "nextHop").contains("172.16.1.1: its probes by eth1 fail"));
    let (world, mut facts) = node(signalling());
    facts.devices.remove(&DeviceName("eth1".into()));
    assert!(fails(&told(&(world, facts), "192.0.2.10"), "nextHop").contains("eth1 is not on this node"));
    let mut route = signalling();
    route.next_hops.pop();
    assert!(fails(&told(&node(route.clone()), "2001:db8::1"), "nextHop").contains("no next hop of IPv6"));
    route.when_unavailable = WhenUnavailable::UseMainTable;
    let told = told(&node(route), "2001:db8::1");
    assert_eq!((told.outcome, told.way.unwrap().exit), (Outcome::MainTable, EXIT_MAIN));
}

#[test]
fn a_backup_is_listed_with_the_reason_it_is_not_used() {
    let mut route = signalling();
    route.next_hops[0].backup = true;
    route.next_hops.push(crate::fixture::hop("172.16.1.2", "eth1"));
    let told = told(&node(route), "192.0.2.10");
    let way = told.way.unwrap();
    assert_eq!(way.next_hops[0].gateway, "172.16.1.2".parse().ok());
    assert_eq!(
        (way.unusable[0].gateway, way.unusable[0].why.as_str()),
        ("172.16.1.1".parse().ok(), "backup: others are usable")
    );
}

/// The Service `core/sip` lends its address to the pod.
fn with_service() -> (Place, Attachment) {
    let mut place = node(signalling());
    let mut service = service("203.0.113.7");
    service.selector = [("app".to_owned(), "sip".to_owned())].into();
    let mut pod = sortie_core::model::Pod { name: service.name.clone(), node: "n1".into(), ..Default::default() };
    pod.meta.labels = service.selector.clone();
    place.0.services.insert(service.name.clone(), service);
    place.0.pods.insert(pod.name.clone(), pod);
    let plain = Attachment { annotations: BTreeMap::new(), ..attachment(("x", "y")) };
    (place, plain)
}

fn from_target(mut place: Place) -> Place {
    for service in place.0.services.values_mut() {
        service.ports[0].target = sortie_core::model::TargetPort::Number(5060);
    }
    place
}

#[test]
fn a_services_address_is_the_source_here_or_by_its_owner() {
    let (place, pod) = with_service();
    let place = from_target(place);
    let here = told_by(&place, &built(&place), (&pod, "192.0.2.10"));
    let source = here.source.as_ref().unwrap();
    assert_eq!((here.outcome, source.kind.as_str(), source.service.as_str()), (Outcome::Route, "service", "core/sip"));
    assert_eq!(source.addresses, ["203.0.113.7".parse::<IpAddr>().unwrap()]);
    let lacking = told_by(&place, &built(&place), (&pod, "2001:db8::10"));
    assert_eq!(lacking.outcome, Outcome::Dropped);
    assert!(fails(&lacking, "owner").contains("no IPv6 address"));
}

#[test]
fn what_another_node_owns_leaves_by_the_tunnel_or_not_at_all() {
    let (place, pod) = with_service();
    let mut place = from_target(place);
    let name = place.0.services.keys().next().unwrap().clone();
    let other = sortie_core::model::Node { name: "n2".into(), number: Some(2), ..Default::default() };
    place.0.nodes.insert("n2".into(), other);
    let path = PathKey::Address { service: name.clone(), route: Some("signalling".into()) };
    let peering = |offer: Offer| Peering {
        number: 1,
        local: "10.10.0.11".parse().unwrap(),
        peers: Peers {
            addresses: [(2, "10.10.0.12".parse().unwrap())].into(),
            offers: [(2, Arc::new(offer))].into(),
            owners: [(name.clone(), 2)].into(),
        },
        before: BTreeMap::new(),
        passing: BTreeSet::new(),
    };
    let heard = built_beside(&place, Some(&peering(Offer::from([(path, 9)]))));
    let told = told_by(&place, &heard, (&pod, "192.0.2.10"));
    let way = told.way.as_ref().unwrap();
    assert_eq!(
        (told.outcome, way.node.as_str(), way.exit, way.table),
        (Outcome::Tunnel, "n2", EXIT_TUNNEL, TABLE_TUNNEL)
    );
    assert_eq!(told.source.unwrap().owner, "n2");
    let unheard = built_beside(&place, Some(&peering(Offer::new())));
    let told = told_by(&place, &unheard, (&pod, "192.0.2.10"));
    assert_eq!(told.outcome, Outcome::Dropped);
    fails(&told, "owner");
}

#[test]
fn a_family_the_pod_has_not_is_said() {
    let place = node(signalling());
    let four = Attachment { addresses: addresses()[..1].to_vec(), ..attachment(("x", "y")) };
    let told = told_by(&place, &built(&place), (&four, "2001:db8::1"));
    assert_eq!(told.outcome, Outcome::Unknown);
    assert!(fails(&told, "family").contains("IPv6"));
}

#[test]
fn an_answer_of_a_newer_helper_is_read() {
    let newer =
        r#"{"node":"n1","outcome":"route","colour":"blue","checks":[{"check":"pod","finding":"fails","size":3}]}"#;
    let told: Explanation = serde_json::from_str(newer).unwrap();
    assert_eq!((told.outcome, told.is_sound()), (Outcome::Route, false));
}
