//! CHECK, GC and STATUS.

use serde_json::json;
use sortie_ipc::{AttachmentKey, Reply, Request};

use crate::support::{Act, Helper, Runtime, failed};

fn key(container: &str) -> AttachmentKey {
    AttachmentKey { container_id: container.to_owned(), interface: "eth0".to_owned() }
}

#[test]
fn check_tells_every_difference() {
    let runtime = Runtime::new();
    let drift = vec!["rule is missing: pref 1300".to_owned(), "src_valid_mark of eth1 is 0".to_owned()];
    let acts = [
        Act::Answer(Reply::Checked { drift: Vec::new() }),
        Act::Answer(Reply::Checked { drift }),
        Act::Answer(failed(5)),
    ];
    let helper = Helper::start(&runtime.path("helper.sock"), acts);
    runtime.run("CHECK", json!({})).is_silent_success();
    let (code, details) = runtime.run("CHECK", json!({})).error();
    assert_eq!((code, details.as_str()), (107, "rule is missing: pref 1300; src_valid_mark of eth1 is 0"));
    assert_eq!(runtime.run("CHECK", json!({})).error().0, 5);
    assert_eq!(helper.asked(), [(); 3].map(|()| Request::Check { key: key("c0ffee"), addresses: runtime.addresses() }));
}

#[test]
fn check_and_gc_need_the_helper() {
    let runtime = Runtime::new();
    for verb in ["CHECK", "GC"] {
        let outcome = runtime.run(verb, json!({"cni.dev/valid-attachments": [], "whenHelperDown": "Pass"}));
        assert_eq!(outcome.error().0, 11, "{verb}");
    }
}

#[test]
fn gc_names_the_network_and_what_stays() {
    let runtime = Runtime::new();
    let helper = Helper::start(&runtime.path("helper.sock"), [Act::Answer(Reply::Done), Act::Answer(failed(5))]);
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]});
    let stdin = runtime.conf(valid.clone()).to_string();
    let without = [("-CNI_CONTAINERID", ""), ("-CNI_IFNAME", ""), ("-CNI_NETNS", ""), ("-CNI_ARGS", "")];
    runtime.run_with("GC", &without, stdin.as_bytes()).is_silent_success();
    assert_eq!(runtime.run("GC", valid).error().0, 5);
    let request = Request::Gc { network: "net".to_owned(), valid: vec![key("a")] };
    assert_eq!(helper.asked(), [request.clone(), request]);
}

#[test]
fn status_fails_only_when_no_pod_could_be_served() {
    for (mode, code) in [("FailSelected", None), ("Pass", None), ("FailAll", Some(50))] {
        let runtime = Runtime::new();
        let outcome = runtime.run("STATUS", json!({"whenHelperDown": mode, "prevResult": null}));
        match code {
            None => outcome.is_silent_success(),
            Some(code) => assert_eq!(outcome.error().0, code),
        }
    }
    let runtime = Runtime::new();
    let reply = Reply::Status(Box::default());
    let helper = Helper::start(&runtime.path("helper.sock"), [Act::Answer(reply), Act::Wait]);
    runtime.run("STATUS", json!({"whenHelperDown": "FailAll"})).is_silent_success();
    assert_eq!(runtime.run("STATUS", json!({"whenHelperDown": "FailAll"})).error().0, 50, "it says nothing");
    helper.asked();
    assert_eq!(runtime.run("STATUS", json!({"helperSocket": "relative"})).error().0, 7);
}
