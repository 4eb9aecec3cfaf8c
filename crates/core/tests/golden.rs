//! The nft text of one small node, kept as a file so that a change of the datapath is seen in review.

use std::collections::BTreeMap;

use sortie_core::allocation::{Allocation, allocate};
use sortie_core::desired::{Inputs, Skeleton, Steering, skeleton};
use sortie_core::ids::Numbers;
use sortie_core::model::{
    AllowedNamespaces, DeviceName, Health, HealthMode, Meta, NextHop, Node, PortRange, Protocol, ServiceOutboundRoute,
    WhenUnavailable,
};
use sortie_core::nft::text;
use sortie_core::selection::{Assignment, Flow, FlowMatch, PathKey, PathSource};
use sortie_core::state::{NftChange, Rule};
use sortie_core::world::{Device, NodeFacts, World};

fn signalling() -> ServiceOutboundRoute {
    let hop = |gateway: &str| NextHop {
        gateway: Some(gateway.parse().unwrap()),
        device: Some(DeviceName("eth1".into())),
        weight: 1,
        backup: false,
    };
    ServiceOutboundRoute {
        name: "signalling".into(),
        meta: Meta::default(),
        next_hops: vec![hop("172.16.1.1"), hop("fd00:16::1")],
        destinations: Vec::new(),
        except_destinations: Vec::new(),
        node_selector: None,
        allowed_namespaces: AllowedNamespaces::All,
        when_unavailable: WhenUnavailable::Drop,
        health: Health { mode: HealthMode::None, interval_milliseconds: 1000, failures: 3, target: None },
        mtu: None,
        table_id: None,
    }
}

fn node() -> (World, NodeFacts) {
    let networks = |list: &[&str]| list.iter().map(|n| n.parse().unwrap()).collect::<Vec<_>>();
    let node = Node {
        name: "n1".into(),
        pod_cidrs: networks(&["10.244.0.0/16", "fd00:244::/48"]),
        addresses: vec!["10.10.0.11".parse().unwrap(), "fd00:10::11".parse().unwrap()],
        ..Node::default()
    };
    let world = World {
        nodes: BTreeMap::from([("n1".into(), node)]),
        routes: BTreeMap::from([("signalling".into(), signalling())]),
        ..World::default()
    };
    let device = |index, list: &[&str]| Device { index, up: true, addresses: networks(list) };
    let devices = BTreeMap::from([
        (DeviceName("eth0".into()), device(2, &["10.10.0.11/24", "fd00:10::11/64"])),
        (DeviceName("eth1".into()), device(3, &["172.16.1.11/24", "fd00:16::11/64"])),
    ]);
    (world, NodeFacts { devices, ..NodeFacts::default() })
}

fn built() -> Skeleton {
    let (world, facts) = node();
    let (allocation, refused) = allocate(&Allocation::default(), &world, &facts, Numbers::default());
    assert_eq!(refused, Vec::new());
    skeleton(&Inputs {
        world: &world,
        node: "n1",
        facts: &facts,
        allocation: &allocation,
        numbers: Numbers::default(),
        cluster_cidrs: &[],
    })
}

fn assignment() -> Assignment {
    let path = PathKey::Route { route: "signalling".into(), source: PathSource::Device };
    let ports = |first, last| Some(PortRange { first, last });
    let sip = FlowMatch { protocol: Some(Protocol::Udp), source_ports: ports(5060, 5060), ..FlowMatch::default() };
    let rtp = FlowMatch { source_ports: ports(10_000, 20_000), ..sip.clone() };
    let web = FlowMatch {
        protocol: Some(Protocol::Tcp),
        destination_ports: ports(443, 443),
        destination: Some("192.0.2.0/24".parse().unwrap()),
        except: vec!["192.0.2.128/25".parse().unwrap()],
        ..FlowMatch::default()
    };
    Assignment { flows: [sip, rtp, web].map(|matcher| Flow { matcher, path: path.clone() }).to_vec() }
}

#[test]
fn the_table_of_a_small_node_reads_as_recorded() {
    let skeleton = built();
    let addresses = ["10.244.1.7".parse().unwrap(), "fd00:244:0:1::7".parse().unwrap()];
    let member = skeleton.member(&addresses, &assignment());
    let members = [member];
    let mode = skeleton.mode(members.iter(), Steering::Auto, 16);
    let desired = skeleton.compose(members.iter(), mode);
    let mut got = text(&NftChange::Replace(desired.state.nft.unwrap()));
    let rule = |r: &Rule| format!("# {}\n", serde_json::to_string(r).unwrap());
    got.extend(desired.state.rules.iter().map(rule));
    got.extend(
        desired
            .state
            .routes
            .iter()
            .map(|r| format!("# {} table {} metric {} {:?}\n", r.destination, r.table, r.metric, r.kind)),
    );
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/small-node.nft");
    let want = std::fs::read_to_string(file).unwrap_or_default();
    if want != got && std::env::var_os("SORTIE_BLESS").is_some() {
        std::fs::write(file, &got).unwrap();
        return;
    }
    assert_eq!(want, got, "SORTIE_BLESS=1 cargo test -p sortie-core --test golden records the new text");
}
