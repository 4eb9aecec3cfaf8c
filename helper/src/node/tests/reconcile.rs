//! Reconcile, restart, adoption, status.

use std::fs;

use sortie_core::model::{ObjectName, Pod};
use sortie_core::state::{ConntrackEntry, ConntrackFilter, Step, Tuple};

use super::*;
use crate::catalogue::Kept;

const EIO: i32 = 5;

fn pod(uid: &str) -> Object {
    Object::Pod(Pod {
        name: ObjectName { namespace: "core".to_owned(), name: "p".to_owned() },
        meta: sortie_core::model::Meta { uid: uid.to_owned(), ..Default::default() },
        node: "n1".to_owned(),
        addresses: vec!["10.244.1.7".parse().unwrap()],
        egress: vec![wish()],
        ..Pod::default()
    })
}

fn with(extra: Object) -> Vec<Object> {
    world().into_iter().chain([extra]).collect()
}

#[test]
fn without_any_network_of_the_cluster_nothing_is_done() {
    let mut stage = Stage::new(settings());
    stage.set_world(vec![Object::Route(route("out"))]);
    let error = wait(stage.node.reconcile()).unwrap_err();
    assert!(error.to_string().contains("--cluster-cidr"), "{error}");
    assert!(stage.node.ready().is_err());
    assert_eq!(stage.applied(), []);
}

#[test]
fn a_second_reconcile_does_nothing() {
    let mut stage = Stage::ready(settings());
    stage.attach(selected("c1", "10.244.1.7"));
    stage.reconcile();
    stage.applied();
    stage.reconcile();
    assert_eq!(stage.applied(), []);
}

#[test]
fn what_somebody_removes_is_put_back() {
    let mut stage = Stage::ready(settings());
    stage.attach(selected("c1", "10.244.1.7"));
    stage.reconcile();
    let good = stage.node.platform.state.clone();
    stage.node.platform.state = NodeState::default();
    stage.reconcile();
    assert_eq!(stage.node.platform.state, good);
}

#[test]
fn a_restart_touches_nothing() {
    let mut stage = Stage::ready(settings());
    stage.attach(selected("c1", "10.244.1.7"));
    stage.reconcile();
    stage.applied();
    let mut stage = stage.restart();
    stage.reconcile();
    assert_eq!(stage.applied(), []);
    assert_eq!(stage.pods().len(), 1);
}

#[test]
fn lost_numbers_forget_the_flows_of_the_old_paths_only() {
    let mut stage = Stage::ready(settings());
    stage.attach(selected("c1", "10.244.1.7"));
    fs::write(stage.dir.path().join("allocation.json"), "{").unwrap();
    stage.applied();
    let mut stage = stage.restart();
    let end = |a: &str| a.parse().unwrap();
    let tuple = |a, b| Tuple { source: end(a), destination: end(b), protocol: 6, source_port: 1, destination_port: 2 };
    let entry = |mark| ConntrackEntry {
        original: tuple("10.244.1.7", "203.0.113.5"),
        reply: tuple("203.0.113.5", "192.168.50.2"),
        mark,
    };
    stage.node.platform.conntrack = vec![entry(0x100), entry(0x40_000), entry(0)];
    stage.reconcile();
    assert_eq!(stage.node.platform.conntrack, [entry(0x40_000), entry(0)], "a foreign mark is not ours");
    assert!(stage.file_exists("allocation.json.corrupt-1"));
}

#[test]
fn a_fresh_node_forgets_no_flow() {
    let mut stage = Stage::ready(settings());
    assert!(stage.applied().iter().all(|s| !matches!(s, Step::PurgeConntrack(_))));
}

#[test]
fn what_the_plugin_detached_alone_is_finished() {
    let mut stage = Stage::ready(settings());
    stage.attach(selected("c1", "10.244.1.7"));
    let file = stage.dir.path().join("attachments/c1-eth0.json");
    fs::rename(&file, stage.dir.path().join("attachments/c1-eth0.json.detached")).unwrap();
    let mut stage = stage.restart();
    stage.applied();
    stage.reconcile();
    let address = ConntrackFilter::Address("10.244.1.7".parse().unwrap());
    let forgets = |s: &Step| matches!(s, Step::PurgeConntrack(f) if f.contains(&address));
    assert!(stage.applied().iter().any(forgets));
    assert_eq!(stage.pods(), Vec::<String>::new());
    assert!(!stage.file_exists("attachments/c1-eth0.json.detached"));
}

#[test]
fn flows_that_could_not_be_forgotten_are_forgotten_by_the_next_reconcile() {
    let mut stage = Stage::ready(Settings { steering: Steering::Marks, ..settings() });
    stage.set_world(with(pod("u1")));
    let forgets = |s: &Step| matches!(s, Step::PurgeConntrack(_));
    let mut probe = Stage::ready(Settings { steering: Steering::Marks, ..settings() });
    probe.set_world(with(pod("u1")));
    probe.applied();
    probe.reconcile();
    let steps = probe.applied();
    let place = steps.iter().position(forgets).unwrap();
    assert_eq!(place, steps.len() - 1);
    stage.node.platform.refusals = [vec![0; place], vec![EIO]].concat();
    wait(stage.node.reconcile()).unwrap_err();
    stage.applied();
    stage.reconcile();
    assert!(stage.applied().iter().any(forgets));
}

#[test]
fn a_running_pod_is_adopted_until_it_is_attached_and_not_again_after_it_left() {
    let mut stage = Stage::ready(settings());
    stage.set_world(with(pod("u1")));
    stage.reconcile();
    assert_eq!(stage.pods().len(), 1);
    let reference = PodReference { namespace: "core".to_owned(), name: "p".to_owned(), uid: "u1".to_owned() };
    stage.attach(Attachment { pod: Some(reference), ..attachment("c1", "10.244.1.7") });
    stage.reconcile();
    assert_eq!((stage.pods().len(), stage.node.adopted.len()), (1, 0));
    assert_eq!(stage.ask(Request::Detach(key("c1"))), Reply::Done);
    stage.reconcile();
    assert_eq!(stage.pods(), Vec::<String>::new());
    let mut stage = stage.restart();
    stage.set_world(with(pod("u1")));
    stage.reconcile();
    assert_eq!(stage.pods(), Vec::<String>::new(), "also not by another helper");
    stage.set_world(with(pod("u2")));
    stage.reconcile();
    assert_eq!(stage.pods().len(), 1, "a new pod of the same name is another one");
}

#[test]
fn an_attached_pod_keeps_its_object_until_it_is_detached() {
    let mut stage = Stage::ready(settings());
    stage.set_world(with(pod("u1")));
    let pod = PodReference { namespace: "core".to_owned(), name: "p".to_owned(), uid: "u1".to_owned() };
    stage.attach(Attachment { pod: Some(pod), ..attachment("c1", "10.244.1.7") });
    stage.reconcile();
    for _ in 0..2 {
        stage.set_world(world());
        stage.reconcile();
        assert_eq!(stage.pods().len(), 1);
        stage = stage.restart();
    }
    stage.set_world(world());
    stage.reconcile();
    assert_eq!(stage.pods().len(), 1, "also after restarts");
    stage.ask(Request::Detach(key("c1")));
    stage.set_world(world());
    stage.reconcile();
    assert!(stage.node.world().pods.is_empty());
    assert_eq!(stage.pods().len(), 0);
}

#[test]
fn an_attached_pod_keeps_the_object_that_is_deleted_while_no_helper_runs() {
    let mut stage = Stage::ready(settings());
    let Object::Pod(object) = pod("u1") else { panic!() };
    stage.node.set_world(World::of(with(pod("u1"))), &[], &[Kept::outliving(object)]);
    let reference = PodReference { namespace: "core".to_owned(), name: "p".to_owned(), uid: "u1".to_owned() };
    stage.attach(Attachment { pod: Some(reference), ..attachment("c1", "10.244.1.7") });
    stage.reconcile();
    let mut stage = stage.restart();
    stage.set_world(world());
    stage.reconcile();
    assert_eq!(stage.pods().len(), 1);
}

#[test]
fn a_route_that_is_gone_closes_its_flows() {
    let mut stage = Stage::ready(settings());
    stage.attach(selected("c1", "10.244.1.7"));
    stage.set_world(world().into_iter().filter(|o| !matches!(o, Object::Route(_))).collect());
    stage.reconcile();
    let Reply::Status(report) = stage.ask(Request::Status) else { panic!() };
    assert_eq!((report.selected, report.routes.len(), report.ready), (1, 0, true));
}

#[test]
fn a_dead_next_hop_is_told_and_closes_the_route() {
    let mut stage = Stage::ready(settings());
    let hop = (DeviceName("eth1".to_owned()), "192.168.50.1".parse().unwrap());
    stage.node.set_dead_hops([hop].into());
    stage.reconcile();
    let Reply::Status(report) = stage.ask(Request::Status) else { panic!() };
    assert_eq!(report.routes[0].next_hops, Vec::<String>::new());
    assert_eq!(report.routes[0].unusable, ["192.168.50.1: NextHopUnreachable by eth1"]);
    assert!(report.conditions.iter().any(|c| c.contains("NextHopsReachable=False")), "{:?}", report.conditions);
    assert_eq!(stage.restart().node.dead_hops().len(), 1, "also after a restart");
}

#[test]
fn namespaces_of_interest_are_on_disk() {
    let stage = Stage::ready(settings());
    assert_eq!(fs::read_to_string(stage.dir.path().join("interest")).unwrap(), "telco\n");
}

/// Spoils the attachment's file and starts another helper with this runtime cache.
fn spoil(mut stage: Stage, cache: &std::path::Path) -> Stage {
    stage.attach(selected("c1", "10.244.1.7"));
    stage.reconcile();
    fs::write(stage.dir.path().join("attachments/c1-eth0.json"), "{").unwrap();
    stage.node.settings.runtime_cache = cache.to_owned();
    let mut stage = stage.restart();
    stage.reconcile();
    stage
}

#[test]
fn a_spoilt_attachment_is_rebuilt_from_the_runtimes_cache() {
    let cache = tempfile::tempdir().unwrap();
    // {"plugins":[{"type":"sortie"}]}
    let entry = serde_json::json!({
        "containerId": "c1", "ifName": "eth0", "networkName": "net",
        "config": "eyJwbHVnaW5zIjpbeyJ0eXBlIjoic29ydGllIn1dfQ==",
        "cniArgs": [["K8S_POD_NAMESPACE", "telco"], ["K8S_POD_NAME", "c1"]],
        "result": {"ips": [{"address": "10.244.1.7/24"}]},
    });
    fs::write(cache.path().join("net-c1-eth0"), entry.to_string()).unwrap();
    let before = Stage::ready(settings());
    let mut stage = spoil(before, cache.path());
    assert_eq!(stage.drift("c1"), Vec::<String>::new());
    assert!(stage.file_exists("attachments/c1-eth0.json"));
    let routes = |s: &Stage| s.node.platform.state.rules.iter().filter(|r| r.table == 10_000).count();
    assert!(routes(&stage) > 2, "the pod's own rule is still there");
}

#[test]
fn a_spoilt_attachment_that_nobody_remembers_is_closed_until_it_is_detached() {
    let mut stage = spoil(Stage::ready(settings()), std::path::Path::new("/nonexistent"));
    for _ in 0..2 {
        assert_eq!(stage.pods().len(), 1);
        assert!(stage.node.platform.state.rules.iter().all(|r| r.from.is_none() || r.table == 11_063));
        stage = stage.restart();
        stage.reconcile();
    }
    assert_eq!(stage.ask(Request::Detach(key("c1"))), Reply::Done);
    stage.reconcile();
    assert_eq!(stage.pods(), Vec::<String>::new());
}
