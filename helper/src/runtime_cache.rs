//! What the container runtime remembers of its ADDs: libcni's result cache.
//!
//! Guarantees: reads only; an entry that cannot be understood is left out. Leaves out: whether the entry is
//! still true, which the caller knows from the kernel.
//!
//! Format: `cachedInfo` in `libcni/api.go` of containernetworking/cni 1.x, one JSON file per attachment.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::Value;
use sortie_core::annotation::PREFIX;
use sortie_core::model::{Attachment, PodReference};

/// Where libcni keeps it unless told otherwise.
pub(crate) const DEFAULT: &str = "/var/lib/cni/results";
/// Capability by which runtimes hand over annotations.
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";
/// `type` of our plugin.
const PLUGIN: &str = "sortie";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    container_id: String,
    if_name: String,
    network_name: String,
    #[serde(default)]
    netns: String,
    #[serde(default)]
    config: String,
    #[serde(default)]
    cni_args: Vec<(String, String)>,
    #[serde(default)]
    capability_args: BTreeMap<String, Value>,
    result: CniResult,
}

#[derive(Deserialize)]
struct CniResult {
    #[serde(default)]
    ips: Vec<CniAddress>,
}

#[derive(Deserialize)]
struct CniAddress {
    address: IpNetwork,
}

/// All attachments of networks that our plugin is part of.
pub(crate) fn attachments(folder: &Path) -> Vec<Attachment> {
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    let texts = files.filter_map(|file| fs::read(file.ok()?.path()).ok());
    texts.filter_map(|text| attachment(serde_json::from_slice(&text).ok()?)).collect()
}

fn attachment(entry: Entry) -> Option<Attachment> {
    let config: Value = serde_json::from_slice(&base64(&entry.config)?).ok()?;
    let plugins = config.get("plugins").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![config]);
    let ours = plugins.into_iter().find(|p| p.get("type").and_then(Value::as_str) == Some(PLUGIN))?;
    Some(Attachment {
        pod: pod(&entry.cni_args),
        annotations: annotations(&entry.capability_args),
        routes: ours.get("routes").and_then(Value::as_array).cloned().unwrap_or_default(),
        addresses: entry.result.ips.iter().map(|ip| ip.address.ip()).collect::<Vec<IpAddr>>(),
        container_id: entry.container_id,
        interface: entry.if_name,
        netns: entry.netns,
        network: entry.network_name,
    })
}

fn pod(arguments: &[(String, String)]) -> Option<PodReference> {
    let value = |key: &str| arguments.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
    Some(PodReference {
        namespace: value("K8S_POD_NAMESPACE")?,
        name: value("K8S_POD_NAME")?,
        uid: value("K8S_POD_UID").unwrap_or_default(),
    })
}

fn annotations(capabilities: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let all = capabilities.get(ANNOTATIONS).and_then(Value::as_object).into_iter().flatten();
    let ours = all.filter(|(key, _)| key.starts_with(PREFIX));
    ours.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Standard alphabet with padding (RFC 4648 section 4), as Go writes byte slices.
fn base64(text: &str) -> Option<Vec<u8>> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => Some(u32::from(c - b'A')),
        b'a'..=b'z' => Some(u32::from(c - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(c - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = group.iter().try_fold(0, |bits, c| Some(bits << 6 | value(*c)?))? << (6 * (4 - group.len()));
        bytes.extend_from_slice(bits.to_be_bytes().get(1..group.len())?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_every_length_is_read() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob")] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64("Zm9v!"), None);
    }

    /// Written by `cnitool add` 1.3 with `CNI_ARGS` and `CAP_ARGS` set; the configuration shortened.
    #[test]
    fn an_entry_becomes_the_attachment_the_plugin_announced() {
        let dir = tempfile::tempdir().unwrap();
        // {"name":"net","plugins":[{"type":"bridge"},{"type":"sortie","routes":[{"route":"out"}]}]}
        let config = "eyJuYW1lIjoibmV0IiwicGx1Z2lucyI6W3sidHlwZSI6ImJyaWRnZSJ9LHsidHlwZSI6InNvcnRpZSIsInJvdXRlcyI6W3sicm91dGUiOiJvdXQifV19XX0=";
        let entry = serde_json::json!({
            "kind": "cniCacheV1", "containerId": "c1", "config": config, "ifName": "eth0", "networkName": "net",
            "netns": "/var/run/netns/a",
            "cniArgs": [["K8S_POD_NAMESPACE", "core"], ["K8S_POD_NAME", "p"]],
            "capabilityArgs": {ANNOTATIONS: {"sortie.dev/route": "out", "other": "x"}},
            "result": {"cniVersion": "1.0.0", "ips": [{"interface": 2, "address": "10.244.1.7/24"}]},
        });
        fs::write(dir.path().join("net-c1-eth0"), entry.to_string()).unwrap();
        fs::write(dir.path().join("other"), "{}").unwrap();
        let found = attachments(dir.path());
        let [attachment] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((attachment.container_id.as_str(), attachment.network.as_str()), ("c1", "net"));
        assert_eq!(attachment.addresses, ["10.244.1.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(attachment.routes, [serde_json::json!({"route": "out"})]);
        assert_eq!(attachment.annotations.keys().collect::<Vec<_>>(), ["sortie.dev/route"]);
        assert_eq!(attachment.pod.as_ref().map(|p| p.name.as_str()), Some("p"));
    }
}
