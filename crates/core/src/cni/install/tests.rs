use serde_json::{Map, Value, json};

use super::{Change, Entry, Files, Outcome, install, uninstall};

/// As `kube-flannel.yml` writes it; k3s writes the same with tabs.
const FLANNEL: &str = r#"{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "flannel",
      "delegate": {
        "hairpinMode": true,
        "isDefaultGateway": true
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
"#;
const K3S: &str = "{\n\t\"name\":\"cbr0\",\n\t\"cniVersion\":\"1.0.0\",\n\t\"plugins\":[\n\t\t{\"type\":\"flannel\"},\n\t\t{\"type\":\"bandwidth\",\"capabilities\":{\"bandwidth\":true}}\n\t]\n}\n";
const CALICO: &str = r#"{"name":"k8s-pod-network","cniVersion":"0.3.1","plugins":[{"type":"calico","log_level":"info","mtu":0,"ipam":{"type":"calico-ipam"},"policy":{"type":"k8s"}},{"type":"portmap","snat":true}]}"#;
const CILIUM: &str = "\n{\n  \"cniVersion\": \"0.3.1\",\n  \"name\": \"cilium\",\n  \"plugins\": [\n    {\n       \"type\": \"cilium-cni\",\n       \"enable-debug\": false\n    }\n  ]\n}\n";
/// Odd spelling that must not change: escapes, numbers, order, no end of line.
const ODD: &str = "{ \"plugins\" : [ {\"z\":1.50e1, \"type\" : \"bri\\u0064ge\" , \"a\":[{}]} ] , \"name\":\"p\\u006fds\", \"x\":{}, \"cniVersion\":\"1.1.0\"}";
const CONF: &str = r#"{"cniVersion": "0.4.0", "name": "pods", "type": "bridge", "ipam": {"type": "host-local"}}"#;

fn entry(settings: Value) -> Entry {
    let Value::Object(settings) = settings else { panic!() };
    Entry::new(settings).unwrap()
}

fn plain() -> Entry {
    entry(json!({}))
}

fn files(list: &[(&str, &str)]) -> Files {
    list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

fn applied(mut files: Files, outcome: &Outcome) -> Files {
    for Change { file, before, after } in &outcome.changes {
        assert_eq!(files.get(file), before.as_ref(), "{file} before");
        match after {
            Some(text) => drop(files.insert(file.clone(), text.clone().into_bytes())),
            None => drop(files.remove(file)),
        }
    }
    files
}

fn installed(before: &Files, entry: &Entry) -> Files {
    applied(before.clone(), &install(before, entry))
}

fn text<'a>(files: &'a Files, name: &str) -> &'a str {
    std::str::from_utf8(&files[name]).unwrap()
}

/// Types of the plugins of a list, as any reader of JSON sees them.
fn types(text: &str) -> Vec<String> {
    let list: Value = serde_json::from_str(text).unwrap();
    list["plugins"].as_array().unwrap().iter().map(|p| p["type"].as_str().unwrap().to_owned()).collect()
}

fn refusal(name: &str, text: &str) -> String {
    let outcome = install(&files(&[(name, text)]), &plain());
    assert_eq!(outcome.changes, [], "{text}");
    outcome.refused.iter().map(ToString::to_string).collect()
}

#[test]
fn uninstall_after_install_gives_every_byte_back() {
    for (name, list) in [
        ("10-flannel.conflist", FLANNEL),
        ("10-flannel.conflist", K3S),
        ("10-calico.conflist", CALICO),
        ("05-cilium.conflist", CILIUM),
        ("pods.conflist", ODD),
        ("10-bridge.conf", CONF),
        ("10-bridge.json", CONF),
    ] {
        let before = files(&[(name, list), ("README", "hello"), ("zz-loopback.conf", r#"{"type":"loopback"}"#)]);
        let first = install(&before, &plain());
        assert_eq!(first.refused, []);
        assert_eq!(first.active.as_deref(), Some(name));
        let with = applied(before.clone(), &first);
        assert_ne!(with, before, "{name}");
        assert_eq!(install(&with, &plain()).changes, [], "{name} a second time");
        let after = uninstall(&with);
        assert_eq!(after.refused, []);
        assert_eq!(applied(with, &after), before, "{name}");
        assert_eq!(uninstall(&before).changes, [], "{name} twice");
    }
}

#[test]
fn the_entry_stands_last_and_nothing_else_changes() {
    let ours = r#"{"capabilities":{"io.kubernetes.cri.pod-annotations":true},"managedBy":"sortie-helper install","type":"sortie"}"#;
    let after = installed(&files(&[("a.conflist", FLANNEL)]), &plain());
    assert_eq!(text(&after, "a.conflist"), FLANNEL.replace("    }\n  ]", &format!("    }},\n    {ours}\n  ]")));
    let after = installed(&files(&[("a.conflist", CALICO)]), &plain());
    assert_eq!(text(&after, "a.conflist"), CALICO.replace("}]}", &format!("}},{ours}]}}")));
    let after = installed(&files(&[("a.conflist", ODD)]), &plain());
    assert_eq!(types(text(&after, "a.conflist")), ["bridge", "sortie"]);
}

#[test]
fn a_single_plugin_stays_and_a_list_comes_before_it() {
    let before = files(&[("10-bridge.conf", CONF)]);
    let after = installed(&before, &plain());
    assert_eq!(after["10-bridge.conf"], CONF.as_bytes());
    let first = after.keys().next().unwrap();
    assert_eq!(first, "10-bridge-sortie.conflist");
    let list: Value = serde_json::from_str(text(&after, first)).unwrap();
    assert_eq!((list["name"].as_str(), list["cniVersion"].as_str()), (Some("pods"), Some("0.4.0")));
    assert_eq!(list["plugins"][0], serde_json::from_str::<Value>(CONF).unwrap());
    assert_eq!(types(text(&after, first)), ["bridge", "sortie"]);
}

#[test]
fn a_list_beside_a_plugin_follows_it() {
    let mut after = installed(&files(&[("10-bridge.conf", CONF)]), &plain());
    after.insert("10-bridge.conf".into(), CONF.replace("pods", "other").into());
    let after = installed(&after, &plain());
    assert!(text(&after, "10-bridge-sortie.conflist").contains("\"name\": \"other\""));
    let mut gone = after.clone();
    gone.remove("10-bridge.conf");
    assert_eq!(installed(&gone, &plain()), Files::new());
    let mut half = after.clone();
    half.insert("10-bridge.conf".into(), b"{\"cniVer".to_vec());
    assert_eq!(installed(&half, &plain()), half);
}

#[test]
fn a_name_that_is_somebody_elses_is_not_taken() {
    let list = FLANNEL.replace("flannel", "macvlan");
    let before = files(&[("10-a.conf", CONF), ("10-a-sortie.conflist", "{}"), ("20.conflist", &list)]);
    let outcome = install(&before, &plain());
    assert_eq!(outcome.changes, []);
    assert!(
        outcome.refused.iter().any(|r| r.object == "10-a-sortie.conflist" && r.remedy == "rename it"),
        "{outcome:?}"
    );
}

#[test]
fn a_cni_that_comes_before_is_followed() {
    for second in [("20-flannel.conflist", FLANNEL), ("20-bridge.conf", CONF)] {
        let mut both = installed(&files(&[second]), &plain());
        both.insert("10-calico.conflist".into(), CALICO.into());
        let outcome = install(&both, &plain());
        assert_eq!(outcome.changes[0].file, "10-calico.conflist", "the new one first");
        let after = applied(both, &outcome);
        assert_eq!(types(text(&after, "10-calico.conflist")), ["calico", "portmap", "sortie"]);
        let mut alone = after;
        alone.remove("10-calico.conflist");
        assert_eq!(alone, files(&[second]));
    }
}

#[test]
fn settings_that_changed_are_brought_up_to_date_in_place() {
    let old = installed(&files(&[("a.conflist", FLANNEL)]), &entry(json!({"whenHelperDown": "FailAll"})));
    let appended = text(&old, "a.conflist").replace("\"FailAll\"}", "\"FailAll\"},{\"type\":\"tuning\"}");
    let new = installed(&files(&[("a.conflist", &appended)]), &plain());
    assert_eq!(types(text(&new, "a.conflist")), ["flannel", "portmap", "sortie", "tuning"]);
    assert!(!text(&new, "a.conflist").contains("FailAll"));
    assert_eq!(
        applied(new.clone(), &uninstall(&new)),
        files(&[("a.conflist", &FLANNEL.replace("    }\n  ]", "    },{\"type\":\"tuning\"}\n  ]"))])
    );
}

#[test]
fn our_entry_goes_from_every_place_in_a_list() {
    let ours = Value::Object(plain().0).to_string();
    for (list, left) in [
        (format!("[{ours}, {{\"type\":\"a\"}}]"), "[{\"type\":\"a\"}]"),
        (format!("[{{\"type\":\"a\"}} , {ours} , {{\"type\":\"b\"}}]"), "[{\"type\":\"a\"} , {\"type\":\"b\"}]"),
        (format!("[{ours},{{\"type\":\"a\"}},{ours}]"), "[{\"type\":\"a\"}]"),
    ] {
        let wrapped = |plugins: &str| format!("{{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":{plugins}}}");
        let before = files(&[("a.conflist", &wrapped(&list))]);
        assert_eq!(applied(before.clone(), &uninstall(&before)), files(&[("a.conflist", &wrapped(left))]));
        assert_eq!(
            types(text(&installed(&before, &plain()), "a.conflist")).iter().filter(|t| *t == "sortie").count(),
            1
        );
    }
}

#[test]
fn an_entry_written_by_hand_is_left_alone_and_uninstall_says_so() {
    let by_hand = FLANNEL.replace("    }\n  ]", "    },\n    {\"type\": \"sortie\"}\n  ]");
    let before = files(&[("a.conflist", &by_hand), ("b.conflist", &by_hand)]);
    let outcome = install(&before, &plain());
    assert_eq!((outcome.changes, outcome.refused), (vec![], vec![]));
    let outcome = uninstall(&before);
    assert_eq!(outcome.changes, []);
    assert_eq!(outcome.refused.len(), 2);
    assert!(outcome.refused[0].to_string().contains("a.conflist: plugins[2]: is an entry"), "{outcome:?}");
}

#[test]
fn what_is_malformed_is_named_and_left() {
    for (file, content, expected) in [
        ("a.conflist", "", "a.conflist: content: is no JSON object"),
        ("a.conflist", "{\"name\":\"a\",", "a.conflist: content: is no configuration: EOF"),
        ("a.conflist", r#"{"cniVersion":"1.0.0","plugins":[{"type":"a"}]}"#, "a.conflist: name: is required"),
        ("a.conflist", r#"{"cniVersion":"1.0.0","name":"n"}"#, "a.conflist: plugins: is required"),
        ("a.conflist", r#"{"cniVersion":"1.0.0","name":"n","plugins":[]}"#, "a.conflist: plugins: is required"),
        ("a.conflist", r#"{"cniVersion":"1.0.0","name":"n","plugins":["x"]}"#, "a.conflist: plugins[0]: is no plugin"),
        (
            "a.conflist",
            r#"{"cniVersion":"1.0.0","name":"n","plugins":[{}]}"#,
            "a.conflist: plugins[0].type: is required",
        ),
        (
            "a.conflist",
            r#"{"name":"n","plugins":[{"type":"a"}]}"#,
            "a.conflist: cniVersion: is 0.1.0, and sortie speaks",
        ),
        (
            "a.conflist",
            r#"{"cniVersion":"9.0.0","name":"n","plugins":[{"type":"a"}]}"#,
            "a.conflist: cniVersion: is 9.0.0",
        ),
        ("a.conflist", r#"{"cniVersion":"1.0.0","name":"a b","plugins":[{"type":"a"}]}"#, "a.conflist: name: "),
        ("a.conflist", r#"{"plugins":[{"type":"a"}],"plugins":[{"type":"b"}]}"#, "duplicate field"),
        ("a.conf", r#"{"cniVersion":"1.0.0","name":"n"}"#, "a.conf: type: is required"),
        ("a.conf", r#"{"cniVersion":"1.0.0","name":"n","type":"sortie"}"#, "a.conf: type: is sortie"),
        ("a.json", r#"{"cniVersion":"1.0.0","type":"a"}"#, "a.json: name: is required"),
    ] {
        assert!(refusal(file, content).contains(expected), "{content}: {}", refusal(file, content));
    }
}

#[test]
fn a_malformed_file_hides_no_other_and_stops_uninstall_only_if_it_names_us() {
    let before = files(&[("00.conflist", "{"), ("10.conflist", FLANNEL)]);
    let outcome = install(&before, &plain());
    assert_eq!((outcome.active.as_deref(), outcome.refused.len()), (Some("10.conflist"), 1));
    let mut after = applied(before, &outcome);
    assert_eq!(uninstall(&after).refused, []);
    after.insert("00.conflist".into(), b"{\"type\": \"sortie\"".to_vec());
    assert_eq!(uninstall(&after).refused.len(), 1);
}

#[test]
fn a_list_of_nothing_but_our_entry_is_left_to_people() {
    let ours = Value::Object(plain().0).to_string();
    let before = files(&[("a.conflist", &format!("{{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[{ours}]}}"))]);
    for outcome in
        [install(&before, &plain()), install(&before, &entry(json!({"logLevel": "warn"}))), uninstall(&before)]
    {
        assert_eq!(outcome.changes, []);
        assert!(outcome.refused[0].message.contains("nothing but our entry"), "{outcome:?}");
    }
}

#[test]
fn an_empty_directory_has_nothing_to_change() {
    assert_eq!(install(&files(&[("notes.txt", "x"), ("10.conflist.bak", FLANNEL)]), &plain()), Outcome::default());
}

#[test]
fn settings_the_plugin_would_refuse_are_refused() {
    for (settings, field) in [
        (json!({"whenHelperDown": "Never"}), "whenHelperDown"),
        (json!({"whenHelperDwon": "Pass"}), "whenHelperDwon"),
        (json!({"type": "bridge"}), "type"),
        (json!({"managedBy": "me"}), "managedBy"),
        (json!({"timeoutMilliseconds": 0}), "timeoutMilliseconds"),
        (json!({"logFile": 7}), "value"),
    ] {
        let Value::Object(settings) = settings else { panic!() };
        let refused = Entry::new(settings).unwrap_err();
        assert!(refused.to_string().contains(field), "{refused}");
    }
    assert!(Entry::new(Map::new()).is_ok());
}
