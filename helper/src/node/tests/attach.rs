//! ADD, DEL, CHECK, GC.

use sortie_core::state::{ConntrackEntry, Step, Tuple};

use super::*;

fn flow(pod: &str, mark: u32) -> ConntrackEntry {
    let (pod, far) = (pod.parse().unwrap(), "203.0.113.5".parse().unwrap());
    let original = Tuple { source: pod, destination: far, protocol: 6, source_port: 4000, destination_port: 80 };
    let reply = Tuple { source: far, destination: pod, protocol: 6, source_port: 80, destination_port: 4000 };
    ConntrackEntry { original, reply, mark }
}

#[test]
fn a_pod_that_asks_for_nothing_changes_nothing() {
    let mut stage = Stage::ready(settings());
    let before = stage.node.platform.state.clone();
    stage.applied();
    assert_eq!(stage.attach(attachment("c1", "10.244.1.7")), []);
    assert_eq!((stage.applied(), &stage.node.platform.state), (vec![], &before));
    assert_eq!(stage.ask(Request::Detach(key("c1"))), Reply::Done);
    assert_eq!(stage.node.platform.state, before);
}

#[test]
fn a_second_pod_with_the_same_wish_costs_one_netlink_message() {
    let mut stage = Stage::ready(Settings { steering: Steering::Marks, ..settings() });
    stage.attach(selected("c1", "10.244.1.7"));
    stage.applied();
    stage.attach(selected("c2", "10.244.1.8"));
    assert!(matches!(stage.applied().as_slice(), [Step::Elements { .. }]));
    assert_eq!(stage.pods().len(), 2);
    stage.reconcile();
    assert_eq!(stage.applied(), []);
}

#[test]
fn the_first_pod_gets_its_rules_and_the_door_they_need() {
    let mut stage = Stage::ready(settings());
    assert_eq!(stage.attach(selected("c1", "10.244.1.7")).len(), 2);
    assert_eq!(stage.drift("c1"), Vec::<String>::new());
    stage.applied();
    assert_eq!(stage.attach(selected("c2", "10.244.1.8")).len(), 2);
    assert!(matches!(stage.applied().as_slice(), [Step::Elements { .. }]));
    assert_eq!(stage.drift("c2"), Vec::<String>::new());
}

#[test]
fn above_the_limit_the_rules_of_all_pods_go() {
    let mut stage = Stage::ready(Settings { rules_max: 2, ..settings() });
    stage.attach(selected("c1", "10.244.1.7"));
    assert_eq!(stage.attach(selected("c2", "10.244.1.8")), []);
    assert!(stage.node.platform.state.rules.iter().all(|r| r.from.is_none()));
    assert_eq!((stage.drift("c1"), stage.drift("c2")), (vec![], vec![]));
}

#[test]
fn detach_leaves_nothing_and_may_be_repeated() {
    let mut stage = Stage::ready(settings());
    let before = stage.node.platform.state.clone();
    stage.attach(selected("c1", "10.244.1.7"));
    assert!(stage.file_exists("attachments/c1-eth0.json"));
    stage.node.platform.conntrack = vec![flow("10.244.1.7", 0x100), flow("10.244.1.9", 0x100)];
    for _ in 0..2 {
        assert_eq!(stage.ask(Request::Detach(key("c1"))), Reply::Done);
    }
    assert!(!stage.file_exists("attachments/c1-eth0.json"));
    assert_eq!(stage.pods(), Vec::<String>::new());
    stage.reconcile();
    assert_eq!(stage.node.platform.conntrack.len(), 1, "the address's flows are forgotten, others stay");
    assert_eq!(stage.node.platform.state, before);
}

#[test]
fn an_address_that_is_used_again_belongs_to_the_newer_attachment() {
    let mut stage = Stage::ready(settings());
    stage.attach(selected("old", "10.244.1.7"));
    stage.node.platform.conntrack = vec![flow("10.244.1.7", 0x100)];
    stage.attach(attachment("new", "10.244.1.7"));
    assert_eq!(stage.node.platform.conntrack, []);
    assert_eq!(stage.pods(), Vec::<String>::new());
    stage.node.platform.conntrack = vec![flow("10.244.1.7", 0)];
    assert_eq!(stage.ask(Request::Detach(key("old"))), Reply::Done);
    assert_eq!(stage.node.platform.conntrack.len(), 1, "a late DEL does not hurt the next holder");
    assert!(stage.file_exists("attachments/new-eth0.json") && !stage.file_exists("attachments/old-eth0.json"));
}

#[test]
fn a_repeated_attach_replaces_the_first() {
    let mut stage = Stage::ready(settings());
    stage.attach(selected("c1", "10.244.1.7"));
    stage.attach(selected("c1", "10.244.1.8"));
    assert_eq!(stage.pods().len(), 1);
    stage.reconcile();
    assert!(stage.node.platform.state.rules.iter().all(|r| r.from.is_none_or(|f| f.to_string() == "10.244.1.8/32")));
}

#[test]
fn a_bad_wish_of_the_pod_fails_with_the_code_of_its_reason() {
    let mut stage = Stage::ready(settings());
    let before = stage.node.platform.state.clone();
    let asking = |wish| Attachment { routes: vec![wish], ..attachment("c1", "10.244.1.7") };
    assert_eq!(stage.refused(asking(serde_json::json!({"route": "nowhere"}))).code, 100);
    assert_eq!(stage.refused(asking(serde_json::json!({"rout": "out"}))).code, 102);
    let failure = stage.refused(selected("c1", "172.31.0.7"));
    assert_eq!(failure.code, 103);
    assert!(failure.details.contains("--cluster-cidr"), "{failure}");
    assert_eq!(stage.node.platform.state, before);
    assert!(!stage.file_exists("attachments/c1-eth0.json"));
}

#[test]
fn names_that_would_leave_the_directory_are_refused() {
    let mut stage = Stage::ready(settings());
    for bad in ["../x", "", "a/b", ".x", "a b"] {
        assert_eq!(stage.refused(attachment(bad, "10.244.1.7")).code, 4, "{bad}");
        assert_eq!(stage.ask(Request::Detach(key(bad))), Reply::Done);
        assert!(matches!(stage.ask(Request::Check { key: key(bad), addresses: Vec::new() }), Reply::Failed(_)));
    }
}

#[test]
fn a_full_disk_fails_the_attach_and_changes_no_kernel() {
    let mut stage = Stage::ready(settings());
    let before = stage.node.platform.state.clone();
    let attachments = stage.dir.path().join("attachments");
    std::fs::remove_dir_all(&attachments).unwrap();
    std::fs::write(&attachments, "in the way").unwrap();
    let failure = stage.refused(selected("c1", "10.244.1.7"));
    assert_eq!(failure.code, 5);
    assert!(failure.details.contains("os error"), "{failure}");
    assert_eq!(stage.node.platform.state, before);
    assert_eq!(stage.attach(attachment("c2", "10.244.1.8")), [], "a pod that asked for nothing is not failed");
}

#[test]
fn an_attach_the_kernel_refuses_leaves_nothing() {
    let mut stage = Stage::ready(settings());
    let before = stage.node.platform.state.clone();
    stage.node.platform.refusals = vec![28; 2];
    assert_eq!(stage.refused(selected("c1", "10.244.1.7")).code, 5);
    assert!(!stage.file_exists("attachments/c1-eth0.json"));
    stage.node.platform.refusals.clear();
    stage.reconcile();
    assert_eq!(stage.node.platform.state, before);
}

#[test]
fn a_kernel_that_was_emptied_meanwhile_is_mended_by_the_attach() {
    let mut stage = Stage::ready(Settings { steering: Steering::Marks, ..settings() });
    stage.attach(selected("c1", "10.244.1.7"));
    stage.node.platform.state.nft = None;
    stage.attach(selected("c2", "10.244.1.8"));
    assert_eq!(stage.pods().len(), 2);
    assert_eq!(stage.drift("c1"), Vec::<String>::new());
}

#[test]
fn check_names_addresses_that_are_not_those_attached() {
    let mut stage = Stage::ready(settings());
    stage.attach(selected("c1", "10.244.1.7"));
    let drift = stage.drift_at("c1", vec!["10.244.1.9".parse().unwrap()]);
    assert_eq!(drift, ["addresses of prevResult are 10.244.1.9, of the attachment 10.244.1.7"]);
}

#[test]
fn check_names_what_is_missing_and_only_for_this_attachment() {
    let mut stage = Stage::ready(settings());
    let rules = stage.attach(selected("c1", "10.244.1.7"));
    stage.attach(selected("c2", "10.244.1.8"));
    stage.node.platform.state.rules.remove(&rules[0]);
    assert!(stage.drift("c1")[0].contains("rule is missing: pref 1300 from 10.244.1.7/32"));
    assert_eq!(stage.drift("c2"), Vec::<String>::new());
    assert!(stage.drift("c3")[0].contains("not known"));
    stage.node.platform.state.nft = None;
    assert!(stage.drift("c2")[0].contains("inet sortie is missing"));
}

#[test]
fn gc_removes_what_is_not_valid_and_spares_other_networks() {
    let mut stage = Stage::ready(settings());
    for (container, address) in [("c1", "10.244.1.7"), ("c2", "10.244.1.8")] {
        stage.attach(selected(container, address));
    }
    stage.attach(Attachment { network: "other".to_owned(), ..selected("c3", "10.244.1.9") });
    let gc = Request::Gc { network: "net".to_owned(), valid: vec![key("c2")] };
    assert_eq!(stage.ask(gc), Reply::Done);
    assert_eq!(stage.node.attachments.keys().map(|k| k.container_id.as_str()).collect::<Vec<_>>(), ["c2", "c3"]);
}

#[test]
fn flows_of_a_pod_that_left_are_forgotten_soon_or_before_the_address_is_used_again() {
    for pod in [attachment, selected] {
        let mut stage = Stage::ready(settings());
        for (container, address) in [("c1", "10.244.1.7"), ("c2", "10.244.1.8")] {
            stage.attach(pod(container, address));
            stage.ask(Request::Detach(key(container)));
        }
        stage.node.platform.conntrack = vec![flow("10.244.1.7", 0), flow("10.244.1.8", 0)];
        stage.attach(attachment("c3", "10.244.1.8"));
        assert_eq!(stage.node.platform.conntrack, [flow("10.244.1.7", 0)]);
        stage.node.platform.conntrack.push(flow("10.244.1.8", 0));
        stage.reconcile();
        assert_eq!(stage.node.platform.conntrack, [flow("10.244.1.8", 0)]);
    }
}

#[test]
fn flows_of_a_pod_that_left_are_forgotten_by_the_next_helper_unless_the_address_has_a_holder() {
    let mut stage = Stage::ready(settings());
    for (container, address) in [("c1", "10.244.1.7"), ("c2", "10.244.1.8")] {
        stage.attach(selected(container, address));
        stage.ask(Request::Detach(key(container)));
    }
    stage.attach(selected("c3", "10.244.1.8"));
    stage.node.platform.conntrack = vec![flow("10.244.1.7", 0x100), flow("10.244.1.8", 0x100)];
    let mut stage = stage.restart();
    stage.reconcile();
    assert_eq!(stage.node.platform.conntrack, [flow("10.244.1.8", 0x100)]);
    let left = std::fs::read_dir(stage.dir.path().join("attachments")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["c3-eth0.json"]);
}
