use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::PodReference;

type Environment = BTreeMap<String, String>;

fn environment(verb: &str) -> Environment {
    let pairs = [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", "c0ffee"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", "/run/netns/x"),
        ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=core;K8S_POD_NAME=sip-1;K8S_POD_UID=u-1"),
    ];
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn with(mut environment: Environment, name: &str, value: &str) -> Environment {
    environment.insert(name.to_owned(), value.to_owned());
    environment
}

fn result() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "cni0", "mac": ""}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/x"}],
        "ips": [{"interface": 2, "address": "10.1.0.5/24", "gateway": "10.1.0.1"}, {"address": "fd00::5/64"}]
    })
}

fn conf(changes: Value) -> Value {
    let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "sortie", "prevResult": result()});
    for (key, value) in changes.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}

fn run(environment: &Environment, stdin: &[u8]) -> Result<Input, Refusal> {
    parse(|name| environment.get(name).cloned(), stdin)
}

fn read(verb: &str, changes: Value) -> Result<Input, Refusal> {
    run(&environment(verb), conf(changes).to_string().as_bytes())
}

fn added(changes: Value) -> Addition {
    let Command::Add(addition) = read("ADD", changes).unwrap().command else { panic!("not ADD") };
    *addition
}

fn code_of(outcome: Result<Input, Refusal>) -> u32 {
    outcome.map_or_else(|refusal| refusal.error.code, |_| 0)
}

#[test]
fn an_addition_has_everything_the_helper_needs() {
    let annotations = json!({"io.kubernetes.cri.pod-annotations": {"sortie.dev/route": "a", "other.dev/x": "y"}});
    let Addition { attachment, prev_result } = added(json!({"runtimeConfig": annotations, "routes": [{"route": "a"}]}));
    let pod = PodReference { namespace: "core".into(), name: "sip-1".into(), uid: "u-1".into() };
    assert_eq!(attachment.pod, Some(pod));
    assert_eq!(attachment.addresses, ["10.1.0.5".parse::<std::net::IpAddr>().unwrap(), "fd00::5".parse().unwrap()]);
    assert_eq!(attachment.annotations.into_keys().collect::<Vec<_>>(), ["sortie.dev/route"]);
    assert_eq!(attachment.routes, [json!({"route": "a"})]);
    assert_eq!((attachment.network.as_str(), attachment.netns.as_str()), ("net", "/run/netns/x"));
    assert_eq!(prev_result.host_interface.as_deref(), Some("cni0"));
}

#[test]
fn keys_that_nobody_knows_are_named() {
    let Input { conf, .. } =
        read("ADD", json!({"helpersocket": "/x", "routes": [], "cni.dev/attachments": []})).unwrap();
    assert_eq!(conf.unknown, ["helpersocket"]);
}

#[test]
fn a_prev_result_keeps_its_bytes() {
    let text = "{ \"ips\" :[ {\"address\":\"10.0.0.1/8\",\"n\":1.50e+01} ],\n\t\"x\":\"\\u00e9\\/\", \"x\":12345678901234567890123 }";
    let stdin = format!("{{\"cniVersion\":\"0.3.1\",\"name\":\"n\",\"prevResult\": {text} }}");
    let Command::Add(addition) = run(&environment("ADD"), stdin.as_bytes()).unwrap().command else { panic!() };
    assert_eq!(addition.prev_result.text, text);
}

#[test]
fn every_version_answers_the_verbs_it_has() {
    let versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", "1.2.0", "banana"];
    let verbs = [("ADD", "0.3.0"), ("CHECK", "0.4.0"), ("GC", "1.1.0"), ("STATUS", "1.1.0")];
    for version in versions {
        for (verb, since) in verbs {
            let outcome = read(verb, json!({"cniVersion": version, "cni.dev/valid-attachments": []}));
            let answers = VERSIONS.contains(&version) && version >= since;
            let refused = outcome.as_ref().err().map(|r| r.version.clone());
            assert_eq!(refused, (!answers).then(|| version.to_owned()), "{verb} {version}");
            assert_eq!(code_of(outcome), if answers { 0 } else { code::VERSION }, "{verb} {version}");
        }
        assert!(read("DEL", json!({"cniVersion": version})).is_ok());
        assert!(read("VERSION", json!({"cniVersion": version})).is_ok());
    }
    assert_eq!(code_of(read("ADD", json!({"cniVersion": null}))), code::VERSION);
}

#[test]
fn what_is_no_json_object_cannot_be_decoded() {
    let whole = conf(json!({})).to_string();
    let nested = |open: &str, close: &str| format!("{{\"x\":{}{}}}", open.repeat(200_000), close.repeat(200_000));
    let in_result = conf(json!({})).to_string().replace("\"gateway\"", &format!("\"x\":{}", "[".repeat(150)));
    let inputs = [
        Vec::new(),
        whole.as_bytes()[..whole.len() - 1].to_vec(),
        format!("{whole}x").into_bytes(),
        b"[]".to_vec(),
        b"\xff\xfe{}".to_vec(),
        b"{\"cniVersion\":\"1.0.0\",\"x\":\"\xc3\"}".to_vec(),
        b"{\"cniVersion\":1}".to_vec(),
        nested("[", "]").into_bytes(),
        nested("{\"a\":", "}").into_bytes(),
        in_result.into_bytes(),
        format!("{whole}{}", " ".repeat(INPUT_MAX)).into_bytes(),
    ];
    for stdin in inputs {
        for verb in ["ADD", "CHECK", "GC", "STATUS"] {
            let start = String::from_utf8_lossy(&stdin[..stdin.len().min(60)]).into_owned();
            assert_eq!(code_of(run(&environment(verb), &stdin)), code::UNDECODABLE, "{verb} {start}");
        }
        assert!(run(&environment("DEL"), &stdin).is_ok());
    }
}

#[test]
fn brackets_in_strings_are_no_nesting() {
    assert!(read("ADD", json!({"x": format!("\\\"{}", "[{".repeat(500))})).is_ok());
}

#[test]
fn the_environment_must_name_the_attachment() {
    let faults = [
        ("CNI_CONTAINERID", &["", "-a", ".a", "a/b", "a b", "../x", "é"][..]),
        ("CNI_IFNAME", &["", ".", "..", "a/b", "a:b", "a b", "a\tb", "abcdefghijklmnop", "a\u{fffd}"]),
        ("CNI_COMMAND", &["", "add", "PURGE"]),
    ];
    for (variable, values) in faults {
        for value in values {
            for verb in ["ADD", "DEL", "CHECK"] {
                let environment = with(environment(verb), variable, value);
                let outcome = run(&environment, conf(json!({})).to_string().as_bytes());
                assert_eq!(code_of(outcome), code::ENVIRONMENT, "{verb} {variable}={value}");
            }
        }
    }
    let longest = with(with(environment("ADD"), "CNI_CONTAINERID", "A_b.c-9"), "CNI_IFNAME", "abcdefghijklmno");
    assert!(run(&longest, conf(json!({})).to_string().as_bytes()).is_ok());
}

#[test]
fn only_del_does_without_a_namespace() {
    for (verb, expected) in [("ADD", code::ENVIRONMENT), ("CHECK", code::ENVIRONMENT), ("DEL", 0)] {
        let mut environment = with(environment(verb), "CNI_NETNS", "");
        let stdin = conf(json!({})).to_string();
        assert_eq!(code_of(run(&environment, stdin.as_bytes())), expected);
        environment.remove("CNI_NETNS");
        assert_eq!(code_of(run(&environment, stdin.as_bytes())), expected);
    }
}

#[test]
fn arguments_that_name_no_pod_give_none() {
    for (arguments, expected) in [("", 0), (";;", 0), ("K8S_POD_NAME=a", 0), ("A=b=c", 0), ("A", code::ENVIRONMENT)] {
        let environment = with(environment("ADD"), "CNI_ARGS", arguments);
        let outcome = run(&environment, conf(json!({})).to_string().as_bytes());
        if let Ok(Input { command: Command::Add(addition), .. }) = &outcome {
            assert_eq!(addition.attachment.pod, None);
        }
        assert_eq!(code_of(outcome), expected, "{arguments}");
    }
}

#[test]
fn a_result_without_addresses_of_the_interface_is_refused() {
    let none = [
        Value::Null,
        json!({}),
        json!({"ips": null}),
        json!({"ips": []}),
        json!({"ips": [{"address": "10.0.0.300/24"}]}),
        json!({"ips": [{"address": 7}]}),
        json!({"ips": [{"address": "10.0.0.3/24", "interface": 0}]}),
        json!({"ips": [{"address": "10.0.0.3/24", "interface": -1}], "interfaces": []}),
        json!({"ips": [{"address": "10.0.0.3/24", "interface": 0}], "interfaces": [{"name": "eth0"}]}),
        json!({"ips": [{"address": "10.0.0.3/24", "interface": 0}], "interfaces": [{"name": "eth1", "sandbox": "x"}]}),
        json!("text"),
    ];
    for result in none {
        for verb in ["ADD", "CHECK"] {
            assert_eq!(code_of(read(verb, json!({"prevResult": result}))), code::CONFIG, "{verb} {result}");
        }
    }
}

#[test]
fn a_pod_that_is_not_reached_through_the_host_is_seen() {
    let result =
        json!({"interfaces": [{"name": "eth0", "sandbox": "x"}], "ips": [{"version": "4", "address": "10.0.0.3/24"}]});
    assert_eq!(added(json!({"prevResult": result})).prev_result.host_interface, None);
}

#[test]
fn keys_out_of_their_rules_are_invalid() {
    let invalid = [
        json!({"name": ""}),
        json!({"name": "a b"}),
        json!({"name": 7}),
        json!({"helperSocket": "run/x"}),
        json!({"stateDir": "x"}),
        json!({"dataDir": "x"}),
        json!({"logFile": "x"}),
        json!({"timeoutMilliseconds": 0}),
        json!({"timeoutMilliseconds": 60_001}),
        json!({"timeoutMilliseconds": -5}),
        json!({"whenHelperDown": "failAll"}),
        json!({"logLevel": "loud"}),
        json!({"routes": {}}),
        json!({"routes": ["a"]}),
        json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": []}}),
    ];
    for changes in invalid {
        assert_eq!(code_of(read("STATUS", changes.clone())), code::CONFIG, "{changes}");
    }
}

#[test]
fn absent_null_and_empty_mean_the_default() {
    let empty = json!({"helperSocket": "", "stateDir": null, "timeoutMilliseconds": null, "whenHelperDown": "", "logLevel": "",
        "logFile": "", "routes": null, "runtimeConfig": null, "args": null, "ipam": {}, "dns": {}});
    let conf = read("STATUS", empty).unwrap().conf;
    assert_eq!(conf, NetConf { name: "net".to_owned(), ..NetConf::default() });
    assert_eq!(conf.timeout, Duration::from_secs(10));
}

#[test]
fn del_uses_what_can_be_used_of_a_broken_configuration() {
    let input = read("DEL", json!({"timeoutMilliseconds": 0, "stateDir": "/s", "helperSocket": "/h"})).unwrap();
    assert_eq!((input.conf.state_dir, input.conf.helper_socket), ("/s".into(), "/h".into()));
}

#[test]
fn gc_needs_a_list_which_may_be_null() {
    assert_eq!(code_of(read("GC", json!({}))), code::CONFIG);
    let key = "cni.dev/valid-attachments";
    assert_eq!(read("GC", json!({key: null})).unwrap().command, Command::Gc(Vec::new()));
    let valid = json!([{"containerID": "a", "ifname": "eth0"}]);
    let target = Target { container_id: "a".into(), interface: "eth0".into() };
    assert_eq!(read("GC", json!({key: valid})).unwrap().command, Command::Gc(vec![target]));
}

#[test]
fn version_is_asked_without_a_configuration() {
    let environment: Environment = [("CNI_COMMAND".to_owned(), "VERSION".to_owned())].into();
    assert_eq!(run(&environment, b" \n").unwrap().version, VERSION_LATEST);
    assert_eq!(run(&environment, b"{\"cniVersion\":\"0.4.0\"}").unwrap().version, "0.4.0");
    assert_eq!(run(&environment, b"{\"cniVersion\":\"7.0.0\"}").unwrap().version, VERSION_LATEST);
    assert_eq!(code_of(run(&environment, b"{")), code::UNDECODABLE);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9./:]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                "(name|ips|address|interface|interfaces|sandbox|routes|containerID)",
                inner,
                0..4
            )
            .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_answered(
        verb in "(ADD|DEL|CHECK|GC|STATUS|VERSION|[A-Z]{0,3})",
        name in "\\PC{0,20}",
        arguments in "\\PC{0,40}",
        stdin in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let environment = with(with(environment(&verb), "CNI_IFNAME", &name), "CNI_ARGS", &arguments);
        let _ = run(&environment, &stdin);
    }

    #[test]
    fn any_value_of_any_key_is_answered(
        verb in "(ADD|DEL|CHECK|GC|STATUS|VERSION)",
        key in "(cniVersion|name|prevResult|routes|runtimeConfig|cni.dev/valid-attachments|timeoutMilliseconds|stateDir)",
        value in any_json(),
    ) {
        let outcome = read(&verb, json!({key: value}));
        if let Ok(Input { command: Command::Add(addition), .. }) = outcome {
            prop_assert!(!addition.attachment.addresses.is_empty());
        }
    }

    #[test]
    fn any_cut_of_a_configuration_is_refused(cut in 0_usize..200) {
        let whole = conf(json!({})).to_string();
        let cut = cut.min(whole.len() - 1);
        prop_assert_eq!(code_of(run(&environment("ADD"), &whole.as_bytes()[..cut])), code::UNDECODABLE);
    }
}
