//! Whatever comes in, one JSON document or nothing goes out.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Act, Helper, Runtime, selected};

const INPUT_MAX: usize = 4 << 20;

#[test]
fn every_version_answers_the_verbs_it_has() {
    let runtime = Runtime::new();
    let verbs = [("ADD", "0.3.0"), ("DEL", ""), ("CHECK", "0.4.0"), ("GC", "1.1.0"), ("STATUS", "1.1.0")];
    for version in ["0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", "1.9.0"] {
        for (verb, since) in verbs {
            let outcome = runtime.run(verb, json!({"cniVersion": version, "cni.dev/valid-attachments": []}));
            let is_known = verb == "DEL" || (version >= since && version != "0.2.0" && version != "1.9.0");
            match verb {
                _ if !is_known => {
                    assert_eq!(outcome.error().0, 1, "{verb} {version}");
                    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
                    assert_eq!(document["cniVersion"], version);
                }
                "CHECK" | "GC" => assert_eq!(outcome.error().0, 11, "no helper is there: {verb} {version}"),
                "ADD" => assert_eq!(outcome.code, Some(0), "{version}"),
                _ => outcome.is_silent_success(),
            }
        }
    }
}

#[test]
fn version_answers_without_any_input() {
    let runtime = Runtime::new();
    for (stdin, version) in [("", "1.1.0"), ("{\"cniVersion\":\"0.4.0\"}", "0.4.0")] {
        let outcome = runtime.run_with("VERSION", &[("-CNI_CONTAINERID", ""), ("-CNI_NETNS", "")], stdin.as_bytes());
        assert_eq!(outcome.code, Some(0));
        let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let supported = json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
        assert_eq!(document, json!({"cniVersion": version, "supportedVersions": supported}));
    }
}

#[test]
fn what_cannot_be_decoded_is_error_6_and_no_obstacle_to_del() {
    let runtime = Runtime::new();
    let whole = runtime.conf(json!({})).to_string();
    let inputs = [
        Vec::new(),
        b"hello".to_vec(),
        whole.as_bytes()[..whole.len() / 2].to_vec(),
        b"{\"cniVersion\":\"1.0.0\",\"name\":\"\xff\"}".to_vec(),
        format!("{{\"x\":{}", "[".repeat(200_000)).into_bytes(),
        format!("{{\"x\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000)).into_bytes(),
        format!("{whole}{}", " ".repeat(INPUT_MAX)).into_bytes(),
    ];
    for stdin in inputs {
        for verb in ["ADD", "CHECK", "GC", "STATUS"] {
            assert_eq!(runtime.run_with(verb, &[], &stdin).error().0, 6, "{verb} {} bytes", stdin.len());
        }
        runtime.run_with("DEL", &[("CNI_CONTAINERID", "sop-garbage")], &stdin).is_silent_success();
    }
}

#[test]
fn an_invalid_environment_is_error_4() {
    let runtime = Runtime::new();
    let stdin = runtime.conf(json!({})).to_string();
    let faults = [
        ("-CNI_COMMAND", ""),
        ("CNI_COMMAND", "DANCE"),
        ("-CNI_CONTAINERID", ""),
        ("CNI_CONTAINERID", "../../etc"),
        ("-CNI_IFNAME", ""),
        ("CNI_IFNAME", "../x"),
        ("CNI_IFNAME", "0123456789abcdef"),
        ("-CNI_NETNS", ""),
        ("CNI_NETNS", ""),
        ("CNI_ARGS", "nonsense"),
    ];
    for (name, value) in faults {
        assert_eq!(runtime.run_with("ADD", &[(name, value)], stdin.as_bytes()).error().0, 4, "{name}={value}");
    }
}

#[test]
fn an_invalid_configuration_is_error_7() {
    let runtime = Runtime::new();
    let faults = [
        json!({"prevResult": null}),
        json!({"prevResult": {"cniVersion": "1.1.0", "ips": []}}),
        json!({"name": null}),
        json!({"timeoutMilliseconds": 60_001}),
        json!({"whenHelperDown": "Maybe"}),
    ];
    for changes in faults {
        assert_eq!(runtime.run("ADD", changes.clone()).error().0, 7, "{changes}");
    }
}

#[test]
fn a_closed_standard_output_is_no_panic() {
    let runtime = Runtime::new();
    for verb in ["ADD", "VERSION"] {
        let mut command = runtime.command(verb, &[]);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let stdin = std::fs::File::open({
            runtime.write("stdin", &runtime.conf(json!({})).to_string());
            runtime.path("stdin")
        });
        let output = command.stdin(stdin.unwrap()).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]), "{verb}");
    }
}

#[test]
fn a_log_has_one_line_for_each_command_and_may_be_impossible() {
    let runtime = Runtime::new();
    let helper = Helper::start(&runtime.path("helper.sock"), [Act::Answer(selected())]);
    assert_eq!(runtime.run("ADD", json!({})).code, Some(0));
    helper.asked();
    let log = std::fs::read_to_string(runtime.path("log")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("command=ADD container=c0ffee interface=eth0 selected=true duration_us="), "{log}");
    for file in ["/proc/nowhere/log", "/dev/full"] {
        assert_eq!(runtime.run("ADD", json!({"logFile": file})).code, Some(0));
    }
}
