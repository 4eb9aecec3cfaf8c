//! ADD with a helper, without one, and with a bad one.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use sortie_core::model::Family;
use sortie_core::state::Rule;
use sortie_ipc::{AttachmentKey, Reply, Request};

use crate::support::{Act, DEADLINE, Helper, Runtime, asking, failed, result, selected, unselected};

fn key() -> AttachmentKey {
    AttachmentKey { container_id: "c0ffee".to_owned(), interface: "eth0".to_owned() }
}

#[test]
fn the_previous_result_leaves_byte_for_byte() {
    let texts = [
        "{ \"cniVersion\":\"1.1.0\",\n\t\"ips\" :[ {\"address\":\"10.1.0.5/24\", \"n\": 1.50e+01 } ] , \"zz\":\"\\u00e9\\/\",\
         \"big\":12345678901234567890123,\"a\":{\"b\":[ ]}}",
        "{\"ips\":[{\"version\":\"4\",\"address\":\"10.1.0.5/24\"}],\"dns\":{},\"interfaces\":[{\"name\":\"veth1\",\
         \"mac\":\"AA:bb:CC:00:11:22\",\"pciID\":\"x\",\"mtu\":1450}],\"é\":\"ü\"}",
    ];
    let runtime = Runtime::new();
    for text in texts {
        let conf = runtime.conf(json!({"prevResult": "HERE"})).to_string().replace("\"HERE\"", &format!("  {text}\n"));
        let outcome = runtime.run_with("ADD", &[], conf.as_bytes());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), text));
    }
}

#[test]
fn the_helper_is_told_what_the_runtime_said() {
    let runtime = Runtime::new();
    let helper = Helper::answering(&runtime.path("helper.sock"), selected());
    let outcome = runtime.run("ADD", json!({"runtimeConfig": asking(), "routes": [{"route": "a"}]}));
    assert_eq!((outcome.code, outcome.stdout), (Some(0), result().to_string()));
    let [Request::Attach(attachment)] = &helper.asked()[..] else { panic!("not one attach") };
    assert_eq!(AttachmentKey::of(attachment), key());
    assert_eq!((attachment.netns.as_str(), attachment.network.as_str()), ("/run/netns/x", "net"));
    assert_eq!(attachment.pod.as_ref().map(|p| p.name.as_str()), Some("sip-1"));
    assert_eq!(attachment.addresses, ["10.1.0.5".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(attachment.annotations["sortie.dev/route"], "signalling");
    assert_eq!(attachment.routes, [json!({"route": "a"})]);
}

#[test]
fn without_a_helper_only_pods_that_ask_are_refused() {
    let by_annotation = json!({"runtimeConfig": asking()});
    let by_net_conf = json!({"routes": [{"route": "a"}]});
    for mode in ["FailSelected", "FailAll", "Pass"] {
        for (changes, interest, asks) in [
            (json!({}), None, false),
            (json!({}), Some("other\ncore-2\n"), false),
            (json!({}), Some("other\ncore\n"), true),
            (json!({}), Some("*\n"), true),
            (by_annotation.clone(), None, true),
            (by_net_conf.clone(), None, true),
        ] {
            let runtime = Runtime::new();
            interest.into_iter().for_each(|text| runtime.write("interest", text));
            let mut changes = changes.clone();
            changes["whenHelperDown"] = json!(mode);
            let outcome = runtime.run("ADD", changes.clone());
            let case = format!("{changes} {interest:?} {outcome:?}");
            if mode == "FailAll" || (asks && mode == "FailSelected") {
                assert_eq!(outcome.error().0, 11, "{case}");
                assert!(outcome.took >= Duration::from_millis(200), "it must wait: {case}");
            } else {
                assert_eq!((outcome.code, outcome.stdout), (Some(0), result().to_string()), "{case}");
            }
        }
    }
}

#[test]
fn a_pod_that_asks_waits_for_a_helper_that_starts() {
    let runtime = Runtime::new();
    let socket = runtime.path("helper.sock");
    let (conf, log) = (json!({"runtimeConfig": asking(), "timeoutMilliseconds": 10_000}), runtime.path("log"));
    std::thread::scope(|scope| {
        let outcome = scope.spawn(|| runtime.run("ADD", conf));
        // The log is opened before the first attempt.
        let end = Instant::now() + DEADLINE;
        while !log.exists() {
            assert!(Instant::now() < end);
            std::thread::yield_now();
        }
        let acts = [Act::HangUp, Act::Answer(failed(11)), Act::Answer(selected())];
        let helper = Helper::start(&socket, acts);
        assert_eq!(outcome.join().unwrap().code, Some(0));
        assert_eq!(helper.asked().len(), 3);
    });
}

#[test]
fn a_silent_helper_holds_up_only_pods_that_ask() {
    for (changes, code) in [(json!({}), 0), (json!({"runtimeConfig": asking()}), 1)] {
        let runtime = Runtime::new();
        let helper = Helper::start(&runtime.path("helper.sock"), [Act::Wait]);
        let outcome = runtime.run("ADD", changes);
        assert_eq!(outcome.code, Some(code));
        assert!(outcome.took < Duration::from_secs(5));
        helper.asked();
    }
}

#[test]
fn an_answer_that_is_none_is_no_answer() {
    for (changes, code) in [(json!({}), 0), (json!({"runtimeConfig": asking()}), 1)] {
        let runtime = Runtime::new();
        let helper = Helper::start(&runtime.path("helper.sock"), [Act::Raw(b"hello\n")]);
        assert_eq!(runtime.run("ADD", changes).code, Some(code));
        helper.asked();
    }
    let runtime = Runtime::new();
    let helper = Helper::answering(&runtime.path("helper.sock"), Reply::Done);
    assert_eq!(runtime.run("ADD", json!({})).error().0, 6);
    helper.asked();
}

#[test]
fn a_refusal_keeps_its_code() {
    for code in [4, 5, 100, 101, 102, 103, 105, 106] {
        let runtime = Runtime::new();
        let helper = Helper::answering(&runtime.path("helper.sock"), failed(code));
        let (told, details) = runtime.run("ADD", json!({"runtimeConfig": asking()})).error();
        assert_eq!((told, details.as_str()), (u64::from(code), "Pod core/sip-1: because"));
        helper.asked();
    }
}

#[test]
fn a_selected_pod_that_bypasses_the_host_is_refused_and_detached() {
    let mut bypass = result();
    bypass["interfaces"] = json!([{"name": "lo", "sandbox": "x"}, {"name": "eth0", "sandbox": "x"}]);
    let runtime = Runtime::new();
    let acts = [Act::Answer(selected()), Act::Answer(Reply::Done)];
    let helper = Helper::start(&runtime.path("helper.sock"), acts);
    assert_eq!(runtime.run("ADD", json!({"prevResult": bypass})).error().0, 104);
    assert_eq!(helper.asked()[1], Request::Detach(key()));

    let runtime = Runtime::new();
    let helper = Helper::answering(&runtime.path("helper.sock"), unselected());
    assert_eq!(runtime.run("ADD", json!({"prevResult": bypass})).code, Some(0), "nobody wants to route it");
    helper.asked();
}

/// A network namespace that goes with the test.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("sop-{name}-{}", std::process::id());
        ip(&["netns", "add", &name]);
        Self(name)
    }

    pub(crate) fn rules(&self) -> String {
        ip(&["-n", &self.0, "rule", "show"])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn rule(from: &str, table: u32) -> Rule {
    Rule {
        family: Family::V4,
        priority: 1300,
        iif: None,
        from: Some(from.parse().unwrap()),
        to: None,
        protocol: None,
        source_ports: None,
        destination_ports: None,
        fwmark: Some((0x100, 0x3f00)),
        table,
    }
}

#[test]
fn rules_are_installed_and_an_equal_one_is_no_obstacle() {
    let namespace = Namespace::new("add");
    let runtime = Runtime::within(&namespace.0);
    let rules = vec![rule("10.1.0.5/32", 10_000), rule("10.1.0.6/32", 10_001)];
    let reply = || Act::Answer(Reply::Attached { selected: true, rules: rules.clone() });
    let helper = Helper::start(&runtime.path("helper.sock"), [reply(), reply()]);
    for _ in 0..2 {
        assert_eq!(runtime.run("ADD", json!({})).code, Some(0));
        assert_eq!(namespace.rules().matches("1300:").count(), 2, "{}", namespace.rules());
    }
    helper.asked();
}

#[test]
fn a_rule_the_kernel_refuses_takes_the_others_and_the_attachment_with_it() {
    let namespace = Namespace::new("undo");
    let runtime = Runtime::within(&namespace.0);
    // An IPv4 rule with an IPv6 source has an address of the wrong length.
    let bad = rule("fd00::5/128", 10_000);
    let reply = Reply::Attached { selected: true, rules: vec![rule("10.1.0.5/32", 10_000), bad] };
    let helper = Helper::start(&runtime.path("helper.sock"), [Act::Answer(reply), Act::Answer(Reply::Done)]);
    let (code, details) = runtime.run("ADD", json!({})).error();
    assert_eq!(code, 5);
    assert!(details.contains("os error"), "{details}");
    assert_eq!(helper.asked()[1], Request::Detach(key()));
    assert_eq!(namespace.rules().matches("1300:").count(), 0);
}
