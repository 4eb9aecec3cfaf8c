//! Every example is a configuration the plugin takes.

use std::path::Path;

use serde_json::Value;
use sortie_core::{annotation, cni};

use crate::support::result;

/// Keys of a plugin entry that mean something to us or to the runtime.
const KEYS: [&str; 10] = [
    "type",
    "capabilities",
    "helperSocket",
    "stateDir",
    "dataDir",
    "timeoutMilliseconds",
    "whenHelperDown",
    "logLevel",
    "logFile",
    "routes",
];

#[test]
fn every_example_is_taken() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../netconf-examples");
    let mut taken = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "conflist") {
            continue;
        }
        let list: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        takes(&path, &list);
        taken += 1;
    }
    assert!(taken >= 4, "{taken} examples");
}

fn takes(path: &Path, list: &Value) {
    let ours = list["plugins"].as_array().unwrap().iter().filter(|p| p["type"] == "sortie").collect::<Vec<_>>();
    let [ours] = ours[..] else { panic!("{path:?}: sortie stands there once") };
    for key in ours.as_object().unwrap().keys() {
        assert!(KEYS.contains(&key.as_str()), "{path:?}: {key}");
    }
    let mut conf = ours.clone();
    conf["name"] = list["name"].clone();
    conf["cniVersion"] = list["cniVersion"].clone();
    conf["prevResult"] = result();
    let variable = |name: &str| {
        let value = match name {
            "CNI_COMMAND" => "ADD",
            "CNI_CONTAINERID" => "c0ffee",
            "CNI_IFNAME" => "eth0",
            "CNI_NETNS" => "/run/netns/x",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let input = cni::parse(variable, conf.to_string().as_bytes()).unwrap();
    annotation::net_conf(&input.conf.routes).unwrap();
}
