//! The startup taint of a node that is new.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sortie_testkit::helper::NODE;
use sortie_testkit::{programs, until};
use sortie_tests::api::{ApiScene, SYSTEM};
use sortie_tests::scene::SOON;

use super::with_api;

const KEY: &str = "sortie.dev/not-ready";
/// A taint of somebody else, in the order of the alphabet as all here.
const OTHER: &str = "example.org/other";

#[test]
fn the_startup_taint_stays_until_our_pod_is_ready_and_others_stay_for_ever() -> Result<()> {
    with_api(|_, scene| {
        let role = programs::workspace().join("install/components/startup-taint/rbac.yaml");
        scene.admin.apply(&std::fs::read_to_string(&role).with_context(|| role.display().to_string())?)?;
        for key in [KEY, OTHER] {
            scene.admin.run(&["taint", "node", NODE, &format!("{key}=:NoSchedule")])?;
        }
        scene.admin.apply(&our_pod())?;
        let mut helper = scene.launch_with(&["--startup-taint", KEY])?;
        helper.await_ready()?;
        // The helper hears of both changes, and neither is a reason.
        set_ready(&scene, "False")?;
        scene.admin.run(&["taint", "node", NODE, "example.org/more=:NoSchedule"])?;
        ensure!(taints(&scene)? == ["example.org/more", OTHER, KEY], "{:?}", taints(&scene)?);
        set_ready(&scene, "True")?;
        let left = || taints(&scene).is_ok_and(|keys| keys == ["example.org/more", OTHER]);
        until(SOON, "a node without the startup taint", left).with_context(|| helper.log())?;
        // Whoever registers the node anew taints it again.
        scene.admin.run(&["taint", "node", NODE, &format!("{KEY}=:NoSchedule")])?;
        until(SOON, "a node without the startup taint", left).with_context(|| helper.log())
    })
}

/// A pod as the DaemonSet makes it, of which nobody has said anything yet.
fn our_pod() -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "sortie", "namespace": SYSTEM, "labels": {"app.kubernetes.io/name": "sortie"}},
        "spec": {"nodeName": NODE, "hostNetwork": true, "containers": [{"name": "helper", "image": "none"}]},
    })
    .to_string()
}

fn set_ready(scene: &ApiScene<'_>, value: &str) -> Result<()> {
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": value}]}}).to_string();
    let words = ["--namespace", SYSTEM, "patch", "pod", "sortie", "--subresource=status", "-p", &status];
    scene.admin.run(&words).map(drop)
}

fn taints(scene: &ApiScene<'_>) -> Result<Vec<String>> {
    let node = scene.admin.get(&["node", NODE])?;
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    // Without a controller the API server's own taint stays.
    let keys = taints.iter().filter_map(|taint| taint["key"].as_str()).map(str::to_owned);
    let mut keys: Vec<String> = keys.filter(|key| !key.starts_with("node.kubernetes.io/")).collect();
    keys.sort();
    Ok(keys)
}
