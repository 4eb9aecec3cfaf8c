//! Laws of `desired` and `plan`, checked by an interpreter of rules, routes and chains that shares no code
//! with the product.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where its assumption does")]

mod oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use oracle::{Fate, Packet, fate};
use proptest::prelude::*;
use sortie_core::allocation::{Allocation, Demand, Giver, allocate};
use sortie_core::apply::apply;
use sortie_core::desired::{Desired, Inputs, Member, Peering, Steering, skeleton};
use sortie_core::ids::Numbers;
use sortie_core::model::{
    AllowedNamespaces, DeviceName, Health, HealthMode, Meta, NextHop, Node, PortRange, Protocol, ServiceOutboundRoute,
    WhenUnavailable,
};
use sortie_core::plan::{attach, detach, may_wait, nothing, plan};
use sortie_core::selection::{Assignment, Flow, FlowMatch, PathKey, PathSource};
use sortie_core::state::{NodeState, Step};
use sortie_core::steering::Peers;
use sortie_core::world::{Device, NodeFacts, World};

/// Everything a node's state depends on, small enough to shrink well.
#[derive(Clone, Debug)]
struct Case {
    routes: Vec<ServiceOutboundRoute>,
    eth2_up: bool,
    pods: BTreeMap<u8, Vec<Flow>>,
    steering: Steering,
    rules_max: usize,
    /// Whether another node is there that offers every path.
    beside: Beside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nobody,
    Peer,
}

fn device(name: &str) -> DeviceName {
    DeviceName(name.to_owned())
}

fn net(text: &str) -> IpNetwork {
    text.parse().expect("network")
}

fn route(name: &str, hops: Vec<(&str, &str)>, when_unavailable: WhenUnavailable) -> ServiceOutboundRoute {
    let hop = |(gateway, dev): (&str, &str)| NextHop {
        gateway: Some(gateway.parse().expect("gateway")),
        device: Some(device(dev)),
        weight: 1,
        backup: false,
    };
    ServiceOutboundRoute {
        name: name.to_owned(),
        meta: Meta::default(),
        next_hops: hops.into_iter().map(hop).collect(),
        destinations: Vec::new(),
        except_destinations: Vec::new(),
        node_selector: None,
        allowed_namespaces: AllowedNamespaces::All,
        when_unavailable,
        health: Health { mode: HealthMode::None, interval_milliseconds: 1000, failures: 3, target: None },
        mtu: None,
        table_id: None,
        given_table: None,
    }
}

fn arb_routes() -> impl Strategy<Value = Vec<ServiceOutboundRoute>> {
    let fallback = prop_oneof![Just(WhenUnavailable::Drop), Just(WhenUnavailable::UseMainTable)];
    (any::<bool>(), any::<bool>(), fallback).prop_map(|(alpha, beta, fallback)| {
        let a = route("alpha", vec![("172.16.1.1", "eth1"), ("fd00:16::1", "eth1")], WhenUnavailable::Drop);
        let b = route("beta", vec![("172.16.2.1", "eth2")], fallback);
        alpha.then_some(a).into_iter().chain(beta.then_some(b)).collect()
    })
}

fn arb_flow() -> impl Strategy<Value = Flow> {
    let ports = |f, l| Some(PortRange { first: f, last: l });
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    let shape = (protocol, 0..5_u8).prop_map(move |(p, kind)| match kind {
        0 => FlowMatch { protocol: Some(p), source_ports: ports(5060, 5060), ..FlowMatch::default() },
        1 => FlowMatch { protocol: Some(p), source_ports: ports(5000, 6000), ..FlowMatch::default() },
        2 => FlowMatch { protocol: Some(p), destination_ports: ports(443, 443), ..FlowMatch::default() },
        3 => FlowMatch {
            destination: Some(net("192.0.2.0/24")),
            except: vec![net("192.0.2.128/25")],
            ..FlowMatch::default()
        },
        _ => FlowMatch::default(),
    });
    let path = prop_oneof![
        Just(PathKey::Closed),
        Just(PathKey::Route { route: "alpha".into(), source: PathSource::Device }),
        Just(PathKey::Route { route: "alpha".into(), source: PathSource::Pod }),
        Just(PathKey::Route { route: "beta".into(), source: PathSource::Device }),
    ];
    (shape, path).prop_map(|(matcher, path)| Flow { matcher, path })
}

fn arb_case() -> impl Strategy<Value = Case> {
    let pods = prop::collection::btree_map(1..4_u8, prop::collection::vec(arb_flow(), 0..3), 0..4);
    let steering = prop_oneof![Just(Steering::Auto), Just(Steering::Rules), Just(Steering::Marks)];
    let beside = prop_oneof![Just(Beside::Nobody), Just(Beside::Peer)];
    (arb_routes(), any::<bool>(), pods, steering, 0..8_usize, beside).prop_map(
        |(routes, eth2_up, pods, steering, rules_max, beside)| Case {
            routes,
            eth2_up,
            pods,
            steering,
            rules_max,
            beside,
        },
    )
}

fn world(case: &Case) -> World {
    let node = Node {
        name: "n1".into(),
        pod_cidrs: vec![net("10.244.0.0/16"), net("fd00:244::/48")],
        addresses: vec!["10.10.0.11".parse().expect("address")],
        ..Node::default()
    };
    World {
        nodes: BTreeMap::from([("n1".to_owned(), node)]),
        routes: case.routes.iter().map(|r| (r.name.clone(), r.clone())).collect(),
        ..World::default()
    }
}

fn facts(case: &Case) -> NodeFacts {
    let dev = |index, up, addresses: &[&str]| Device {
        index,
        up,
        mtu: 1500,
        addresses: addresses.iter().map(|a| net(a)).collect(),
    };
    NodeFacts {
        devices: BTreeMap::from([
            (device("eth0"), dev(2, true, &["10.10.0.11/24"])),
            (device("eth1"), dev(3, true, &["172.16.1.11/24", "fd00:16::11/64"])),
            (device("eth2"), dev(4, case.eth2_up, &["172.16.2.11/24"])),
        ]),
        dead_hops: BTreeSet::new(),
        foreign_tables: BTreeSet::new(),
    }
}

fn addresses(pod: u8) -> Vec<IpAddr> {
    vec![format!("10.244.1.{pod}").parse().expect("v4"), format!("fd00:244::{pod}").parse().expect("v6")]
}

/// Desired state, its members and the allocation that goes with them.
struct Built {
    desired: Desired,
    members: BTreeMap<u8, Member>,
    allocation: Allocation,
}

fn build(case: &Case, before: &Allocation) -> Built {
    let (world, facts) = (world(case), facts(case));
    let (allocation, _) = allocate(
        before,
        &Demand {
            world: &world,
            facts: &facts,
            numbers: Numbers::default(),
            addresses: &BTreeSet::new(),
            giver: Giver::Here,
        },
    );
    let peering = Peering {
        number: 1,
        local: "10.10.0.11".parse().expect("address"),
        peers: Peers {
            addresses: BTreeMap::from([(2, "10.10.0.12".parse().expect("address"))]),
            offers: BTreeMap::from([(2, allocation.paths.clone().into())]),
            owners: BTreeMap::new(),
        },
        before: BTreeMap::new(),
        passing: BTreeSet::new(),
    };
    let skeleton = skeleton(&Inputs {
        world: &world,
        node: "n1",
        facts: &facts,
        allocation: &allocation,
        numbers: Numbers::default(),
        cluster_cidrs: &[],
        owned: &BTreeSet::new(),
        leased: &BTreeSet::new(),
        peering: (case.beside == Beside::Peer).then_some(&peering),
    });
    let member = |pod: &u8, flows: &Vec<Flow>| skeleton.member(&addresses(*pod), &Assignment { flows: flows.clone() });
    let members: BTreeMap<u8, Member> = case.pods.iter().map(|(pod, flows)| (*pod, member(pod, flows))).collect();
    let mode = skeleton.mode(members.values(), case.steering, case.rules_max);
    let desired = skeleton.compose(members.values(), mode);
    Built { desired, members, allocation }
}

fn after(mut state: NodeState, desired: &Desired) -> NodeState {
    plan(&state.clone(), desired).iter().for_each(|step| apply(&mut state, step));
    state
}

fn packets() -> Vec<Packet> {
    let mut packets = Vec::new();
    for pod in 1..4 {
        for (protocol, sport, dport) in [("udp", 5060, 9), ("tcp", 5500, 443), ("udp", 40_000, 443), ("tcp", 7, 7)] {
            for far in ["192.0.2.10", "192.0.2.200", "203.0.113.9", "10.244.2.9", "2001:db8::9"] {
                let far: IpAddr = far.parse().expect("far end");
                let source = addresses(pod).into_iter().find(|a| a.is_ipv4() == far.is_ipv4()).expect("family");
                packets.push(Packet { source, far, protocol, sport, dport });
            }
        }
    }
    packets
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_second_plan_is_empty(a in arb_case(), b in arb_case()) {
        let first = build(&a, &Allocation::default());
        let state = after(NodeState::default(), &first.desired);
        prop_assert_eq!(&state, &first.desired.state);
        let second = build(&b, &first.allocation);
        let state = after(state, &second.desired);
        prop_assert_eq!(&state, &second.desired.state);
        prop_assert!(plan(&state, &second.desired).is_empty());
    }

    #[test]
    fn uninstalling_leaves_nothing(a in arb_case()) {
        let built = build(&a, &Allocation::default());
        let state = after(built.desired.state.clone(), &nothing(built.desired.path_mask));
        prop_assert_eq!(state, NodeState::default());
    }

    #[test]
    fn no_prefix_of_a_plan_leaks(a in arb_case(), b in arb_case()) {
        let old = build(&a, &Allocation::default());
        let new = build(&b, &old.allocation);
        let packets = packets();
        let allowed: Vec<BTreeSet<Fate>> = packets.iter().map(|p| {
            BTreeSet::from([fate(&old.desired.state, p), fate(&new.desired.state, p), Fate::Dropped])
        }).collect();
        let mut state = old.desired.state.clone();
        for step in plan(&old.desired.state, &new.desired) {
            apply(&mut state, &step);
            for (packet, allowed) in packets.iter().zip(&allowed) {
                let fate = fate(&state, packet);
                prop_assert!(allowed.contains(&fate), "{packet:?} went {fate:?} after {step:?}, allowed {allowed:?}");
            }
        }
    }

    #[test]
    fn a_packet_that_both_states_treat_alike_is_never_lost_in_between(a in arb_case(), b in arb_case()) {
        let b = Case { routes: a.routes.clone(), eth2_up: a.eth2_up, beside: a.beside, ..b };
        let old = build(&a, &Allocation::default());
        let new = build(&b, &old.allocation);
        let alike: Vec<(Packet, Fate)> = packets().into_iter().filter_map(|p| {
            let fate_before = fate(&old.desired.state, &p);
            (fate_before == fate(&new.desired.state, &p)).then_some((p, fate_before))
        }).collect();
        let mut state = old.desired.state.clone();
        for step in plan(&old.desired.state, &new.desired) {
            apply(&mut state, &step);
            for (packet, before) in &alike {
                prop_assert_eq!(&fate(&state, packet), before, "{:?} after {:?}", packet, step);
            }
        }
    }

    #[test]
    fn what_may_wait_is_noticed_by_no_packet_and_is_all_that_is_left(a in arb_case(), b in arb_case()) {
        let old = build(&a, &Allocation::default());
        let new = build(&b, &old.allocation);
        let mut state = old.desired.state.clone();
        for step in plan(&old.desired.state, &new.desired).iter().filter(|step| !may_wait(step)) {
            apply(&mut state, step);
        }
        for packet in packets() {
            prop_assert_eq!(fate(&state, &packet), fate(&new.desired.state, &packet), "{:?}", packet);
        }
        let left = plan(&state, &new.desired);
        prop_assert!(left.iter().all(|step| may_wait(step) || matches!(step, Step::PurgeConntrack(_))), "{:?}", left);
    }

    #[test]
    fn losing_the_nft_table_leaks_nothing_while_per_pod_rules_exist(case in arb_case()) {
        let case = Case { steering: Steering::Rules, ..case };
        let mut state = build(&case, &Allocation::default()).desired.state;
        let before: Vec<Fate> = packets().iter().map(|p| fate(&state, p)).collect();
        state.nft = None;
        for (packet, before) in packets().iter().zip(before) {
            let now = fate(&state, packet);
            prop_assert!(before == Fate::Main || now == Fate::Dropped || packet.stays_inside(), "{packet:?} {before:?} {now:?}");
        }
    }

    #[test]
    fn losing_all_rules_leaks_nothing_while_the_nft_table_exists(case in arb_case()) {
        let mut state = build(&case, &Allocation::default()).desired.state;
        let before: Vec<Fate> = packets().iter().map(|p| fate(&state, p)).collect();
        state.rules.clear();
        for (packet, before) in packets().iter().zip(before) {
            let now = fate(&state, packet);
            prop_assert!(before == Fate::Main || now == Fate::Dropped, "{packet:?} {before:?} {now:?}");
        }
    }

    #[test]
    fn an_attach_followed_by_its_detach_selects_as_before(case in arb_case(), flows in prop::collection::vec(arb_flow(), 1..3)) {
        let mut case = Case { steering: Steering::Marks, ..case };
        case.pods.remove(&3);
        let without = build(&case, &Allocation::default());
        case.pods.insert(3, flows);
        let with = build(&case, &without.allocation);
        let member = &with.members[&3];
        let mut state = without.desired.state.clone();
        for step in attach(&state.clone(), member).expect("table") {
            apply(&mut state, &step);
        }
        for packet in packets() {
            prop_assert_eq!(fate(&state, &packet), fate(&with.desired.state, &packet));
        }
        for step in detach(&state.clone(), member) {
            apply(&mut state, &step);
        }
        for packet in packets() {
            prop_assert_eq!(fate(&state, &packet), fate(&without.desired.state, &packet));
        }
    }

    #[test]
    fn numbers_stay_while_their_owner_exists(a in arb_case(), b in arb_case()) {
        let first = build(&a, &Allocation::default()).allocation;
        let second = build(&b, &first).allocation;
        for (name, table) in &first.tables {
            prop_assert!(second.tables.get(name).is_none_or(|t| t == table));
        }
        for (path, number) in &first.paths {
            prop_assert!(second.paths.get(path).is_none_or(|n| n == number));
        }
        let distinct: BTreeSet<_> = second.paths.values().collect();
        prop_assert_eq!(distinct.len(), second.paths.len());
    }
}
