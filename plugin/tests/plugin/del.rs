//! DEL succeeds, and without a helper removes what the attachment's file names.

use std::process::Command;

use serde_json::json;
use sortie_core::model::Attachment;
use sortie_core::state::Rule;
use sortie_ipc::{AttachmentKey, Reply, Request, StoredAttachment};

use crate::add::{Namespace, rule};
use crate::support::{Act, Helper, Runtime, failed};

const FILE: &str = "attachments/c0ffee-eth0.json";

fn stored(container: &str, rules: &[Rule]) -> String {
    let attachment = Attachment {
        container_id: container.to_owned(),
        interface: "eth0".to_owned(),
        netns: String::new(),
        network: "net".to_owned(),
        pod: None,
        addresses: vec!["10.1.0.5".parse().unwrap()],
        annotations: Default::default(),
        routes: Vec::new(),
    };
    serde_json::to_string(&StoredAttachment { attachment, rules: rules.to_vec() }).unwrap()
}

/// Runs in the namespace and returns what was printed.
fn within(namespace: &Namespace, program: &[&str]) -> String {
    let output = Command::new("ip").args(["netns", "exec", &namespace.0]).args(program).output().unwrap();
    assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A namespace with the rule, an element and a connection of 10.1.0.5, and the like of 10.1.0.6.
fn programmed(name: &str) -> (Namespace, Runtime) {
    let namespace = Namespace::new(name);
    for address in ["10.1.0.5", "10.1.0.6"] {
        let rule = ["fwmark", "0x100/0x3f00", "lookup", "10000", "pref", "1300", "proto", "155"];
        within(&namespace, &[&["ip", "rule", "add", "from", address][..], &rule].concat());
        let flow = ["-s", address, "-d", "192.0.2.1", "-p", "udp", "--sport", "5060", "--dport", "5060", "-t", "60"];
        within(&namespace, &[&["conntrack", "-I"][..], &flow].concat());
    }
    let table = "add table inet sortie; add chain inet sortie s; \
         add set inet sortie pods4 { type ipv4_addr; }; add set inet sortie pods6 { type ipv6_addr; }; \
         add map inet sortie sel4 { type ipv4_addr : verdict; }; add map inet sortie inb4 { type ipv4_addr : verdict; }; \
         add element inet sortie pods4 { 10.1.0.5, 10.1.0.6 }; \
         add element inet sortie sel4 { 10.1.0.5 : goto s, 10.1.0.6 : goto s }";
    within(&namespace, &["nft", table]);
    let runtime = Runtime::within(&namespace.0);
    (namespace, runtime)
}

/// How often an address stands in rules, elements and connections.
fn traces(namespace: &Namespace, address: &str) -> [usize; 3] {
    let elements = within(namespace, &["nft", "list", "table", "inet", "sortie"]);
    let connections = within(namespace, &["conntrack", "-L", "-s", address]);
    [&namespace.rules(), &elements, &connections].map(|text| usize::from(text.contains(address)))
}

#[test]
fn del_asks_the_helper_and_succeeds_whatever_it_says() {
    for act in [Act::Answer(Reply::Done), Act::Answer(failed(5)), Act::Raw(b"x\n"), Act::HangUp, Act::Wait] {
        let runtime = Runtime::new();
        let helper = Helper::start(&runtime.path("helper.sock"), [act]);
        runtime.run("DEL", json!({})).is_silent_success();
        let key = AttachmentKey { container_id: "c0ffee".to_owned(), interface: "eth0".to_owned() };
        assert_eq!(helper.asked(), [Request::Detach(key)]);
    }
}

#[test]
fn del_succeeds_when_nothing_is_there() {
    let runtime = Runtime::new();
    let stdin = runtime.conf(json!({"prevResult": null, "cniVersion": "9.9.9"})).to_string();
    for changes in [&[][..], &[("CNI_NETNS", "")], &[("-CNI_NETNS", "")], &[("CNI_NETNS", "/run/netns/gone")]] {
        runtime.run_with("DEL", changes, stdin.as_bytes()).is_silent_success();
    }
}

#[test]
fn del_without_a_helper_removes_everything_of_the_attachment_and_nothing_else() {
    let (namespace, runtime) = programmed("del");
    runtime.write(FILE, &stored("c0ffee", &[rule("10.1.0.5/32", 10_000)]));
    assert_eq!(traces(&namespace, "10.1.0.5"), [1, 1, 1]);
    for _ in 0..2 {
        runtime.run("DEL", json!({})).is_silent_success();
        assert_eq!(traces(&namespace, "10.1.0.5"), [0, 0, 0]);
        assert_eq!(traces(&namespace, "10.1.0.6"), [1, 1, 1]);
        assert_eq!(std::fs::read_dir(runtime.path("attachments")).unwrap().count(), 0);
    }
}

#[test]
fn a_late_del_does_not_hurt_the_next_holder_of_the_address() {
    let (namespace, runtime) = programmed("late");
    let rules = [rule("10.1.0.5/32", 10_000)];
    runtime.write(FILE, &stored("c0ffee", &rules));
    runtime.write("attachments/next-eth0.json", &stored("next", &rules));
    runtime.run("DEL", json!({})).is_silent_success();
    assert_eq!(traces(&namespace, "10.1.0.5"), [1, 1, 1]);
    assert!(!runtime.path(FILE).exists() && runtime.path("attachments/next-eth0.json").exists());
}

#[test]
fn an_attachment_that_cannot_be_read_may_hold_the_address_so_all_is_left_to_the_helper() {
    let (namespace, runtime) = programmed("spoilt");
    runtime.write(FILE, &stored("c0ffee", &[rule("10.1.0.5/32", 10_000)]));
    runtime.write("attachments/next-eth0.json", "{\"attachment\":");
    runtime.run("DEL", json!({})).is_silent_success();
    assert_eq!(traces(&namespace, "10.1.0.5"), [1, 1, 1]);
    assert!(!runtime.path(FILE).exists() && runtime.path(&format!("{FILE}.detached")).exists());
}

#[test]
fn del_without_a_helper_succeeds_when_the_table_is_gone() {
    let (namespace, runtime) = programmed("table");
    within(&namespace, &["nft", "delete", "table", "inet", "sortie"]);
    runtime.write(FILE, &stored("c0ffee", &[rule("10.1.0.5/32", 10_000)]));
    runtime.run("DEL", json!({})).is_silent_success();
    assert!(!namespace.rules().contains("10.1.0.5"));
    assert_eq!(std::fs::read_dir(runtime.path("attachments")).unwrap().count(), 0);
}

#[test]
fn what_could_not_be_removed_is_kept_for_the_helper() {
    let runtime = Runtime::new();
    runtime.write(FILE, "{\"attachment\":");
    runtime.run("DEL", json!({})).is_silent_success();
    assert!(!runtime.path(FILE).exists());
    assert!(runtime.path(&format!("{FILE}.detached")).exists());
}
