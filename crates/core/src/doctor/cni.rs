//! The CNI in use: whether pods pass us, and whether they pass the node's stack at all.

use serde_json::Value;

use super::{Facts, Finding, Outcome, Plugin, Severity};
use crate::cni::install::{Files, is_configuration};

/// Our plugin.
const OURS: &str = "sortie";
/// Plugins whose pods have a link of their own.
const BESIDE: [&str; 8] =
    ["macvlan", "ipvlan", "sriov", "ib-sriov", "host-device", "ovs", "ovn-k8s-cni-overlay", "vlan"];
/// Devices that Calico's eBPF data plane makes.
const CALICO_EBPF: [&str; 2] = ["bpfin.cali", "bpfout.cali"];

pub(super) fn check(facts: &Facts) -> Outcome {
    let files = facts.network.as_ref().map_err(Clone::clone)?;
    let mut found: Vec<Finding> = calico(facts).into_iter().collect();
    match active(files) {
        None => found.push(nothing()),
        Some((file, types)) => {
            found.extend(types.iter().filter_map(|kind| around(file, kind)));
            found.extend(entry(facts, (file, &types)));
        }
    }
    Ok(found)
}

/// The file that runtimes use, the first that can be read, and the plugins it names.
fn active(files: &Files) -> Option<(&str, Vec<String>)> {
    files.iter().filter(|(name, _)| is_configuration(name)).find_map(|(name, text)| {
        let json: Value = serde_json::from_slice(text).ok()?;
        let kind = |plugin: &Value| plugin["type"].as_str().map(str::to_owned);
        let types: Vec<String> = match json["plugins"].as_array() {
            Some(plugins) => plugins.iter().filter_map(kind).collect(),
            None => kind(&json).into_iter().collect(),
        };
        (!types.is_empty()).then_some((name.as_str(), types))
    })
}

fn nothing() -> Finding {
    let about = ("no pod has a network yet", "install a CNI; `sortie-helper install --watch` waits for it");
    Finding::new(Severity::Warning, "there is no configuration of a CNI", about)
}

fn around(file: &str, kind: &str) -> Option<Finding> {
    let seen = format!("{file} uses {kind}");
    if BESIDE.contains(&kind) {
        let about = (
            "its pods do not pass the node's own stack: those that ask for a route do not start",
            "use a bridge, ptp or routed network for pods that ask for routes",
        );
        return Some(Finding::new(Severity::Error, seen, about));
    }
    let (meaning, remedy) = match kind {
        "cilium-cni" => (
            "with eBPF host routing its pods do not pass the node's own stack; whether it is on cannot be seen here",
            "set bpf.hostLegacyRouting=true, and cni.exclusive=false, in Cilium's chart",
        ),
        "multus" | "multus-shim" => (
            "it hands pods to other networks: only what it chains behind our prevResult passes us, further networks do not",
            "select only traffic of a pod's first network",
        ),
        _ => return None,
    };
    Some(Finding::new(Severity::Note, seen, (meaning, remedy)))
}

fn calico(facts: &Facts) -> Option<Finding> {
    let devices = facts.devices.as_ref().ok()?;
    let device = devices.keys().find(|device| CALICO_EBPF.contains(&device.0.as_str()))?;
    let about = (
        "Calico's eBPF data plane is on: packets of pods may pass beside the node's rules",
        "set spec.linuxDataplane of Calico's Installation to Iptables or Nftables",
    );
    Some(Finding::new(Severity::Warning, format!("there is a device {device}"), about))
}

/// Whether our entry and program are in place.
fn entry(facts: &Facts, (file, types): (&str, &[String])) -> Option<Finding> {
    let place = types.iter().position(|kind| kind == OURS);
    // Before the installation it is not missing.
    let severity = if facts.is_in_use() { Severity::Error } else { Severity::Note };
    match (place, &facts.plugin) {
        (None, _) => {
            let about = (
                "pods start without us, and their traffic goes the old way",
                "run `sortie-helper install`, or look at the log of `install --watch`",
            );
            Some(Finding::new(severity, format!("{file} has no entry of type {OURS}"), about))
        }
        (Some(0), _) => {
            let about = (
                "every ADD fails: our plugin needs the result of the one before it",
                "put it behind the plugin that makes the interface",
            );
            Some(Finding::new(Severity::Error, format!("{OURS} is the first plugin of {file}"), about))
        }
        (Some(_), Ok(Plugin::Missing)) => {
            let about = ("no pod starts", "run `sortie-helper install`");
            Some(Finding::new(Severity::Error, format!("{file} names {OURS}, and the program is not there"), about))
        }
        (Some(_), Ok(Plugin::Other)) => {
            let about =
                ("plugin and helper of different minor versions refuse each other", "run `sortie-helper install`");
            Some(Finding::new(Severity::Warning, "the installed plugin is not the one beside this program", about))
        }
        (Some(_), Ok(Plugin::Same) | Err(_)) => None,
    }
}
