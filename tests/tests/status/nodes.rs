//! Several nodes that write into one status.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sortie_testkit::helper::NODE;
use sortie_testkit::process::Process;
use sortie_testkit::programs;
use sortie_tests::api::{ApiScene, SYSTEM};

use super::{await_status, condition, with_api};

/// How long nothing may be written when nothing changes.
const QUIET: Duration = Duration::from_secs(5);
pub(crate) const OTHER: &str = "node2";

/// A second node, which has no device of any route.
pub(crate) fn second(scene: &ApiScene<'_>) -> Result<Process> {
    let lab = scene.lab;
    let place = lab.net().namespace("second")?;
    lab.node.wire("second", (&place, "eth0"))?;
    lab.node.ip("address add 172.30.9.1/24 dev second\nlink set second up")?;
    place.ip("link set lo up\naddress add 172.30.9.2/24 dev eth0")?;
    scene.admin.apply(&format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {OTHER}}}\nspec: {{podCIDRs: [10.245.0.0/24]}}\n"
    ))?;
    let mut config: Value = serde_json::from_str(&scene.api.account(SYSTEM, "sortie-helper")?)?;
    config["contexts"][0]["context"]["namespace"] = SYSTEM.into();
    config["clusters"][0]["cluster"]["server"] = "https://172.30.9.1:6443".into();
    config["clusters"][0]["cluster"]["tls-server-name"] = "localhost".into();
    let kubeconfig = lab.path("second.kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).context("cannot write the kubeconfig")?;
    let scratch = lab.net().scratch();
    let mut command = Command::new(programs::ours("sortie-helper")?);
    command.args(["run", "--node", OTHER, "--kubernetes", "--log-level", "debug", "--kubeconfig"]).arg(&kubeconfig);
    command.arg("--state-dir").arg(scratch.folder("second-state")?);
    command.arg("--data-dir").arg(scratch.folder("second-data")?);
    command.arg("--socket").arg(lab.path("second.sock"));
    Process::start(&place, &mut command, &lab.path("second.log"))
}

fn versions(scene: &ApiScene<'_>) -> Result<Vec<Value>> {
    let all = scene.admin.get(&["sor,egp,vippool", "--all-namespaces"])?;
    let items = all["items"].as_array().into_iter().flatten();
    Ok(items.map(|object| object["metadata"]["resourceVersion"].clone()).collect())
}

#[test]
fn two_helpers_each_say_their_part_and_then_are_silent() -> Result<()> {
    with_api(|lab, scene| {
        scene.admin.apply(&sortie_testkit::manifest::pool())?;
        let helper = scene.helper()?;
        let mut other = second(&scene)?;
        let says = |status: &Value, node: &str| {
            status["nodes"].as_array().is_some_and(|all| all.iter().any(|entry| entry["name"] == node))
        };
        let object = ["sor", "b"];
        let status = await_status(&scene.admin, &object, |s| says(s, OTHER) && s["exitNodes"] == 1)
            .with_context(|| format!("{}\n{}", helper.log(), other.log()))?;
        ensure!(status["nodes"][0]["reason"] == "DeviceMissing" && !says(&status, NODE), "{status}");
        ensure!(condition(&status, "NextHopsReachable")["status"] == "True", "{status}");
        await_status(&scene.admin, &["sor", "c"], |s| says(s, OTHER) && s["exitNodes"] == 1)?;
        await_status(&scene.admin, &["vippool", "public"], |s| s["free"].is_u64())?;
        let (before, began) = (versions(&scene)?, Instant::now());
        while began.elapsed() < QUIET {
            let now = versions(&scene)?;
            ensure!(now == before, "written after {} ms: {before:?} {now:?}", began.elapsed().as_millis());
        }
        // A device that goes is told by its node, and told no more when it is back.
        lab.node.ip("link set eth1 down")?;
        let status = await_status(&scene.admin, &object, |s| says(s, NODE) && s["exitNodes"] == 0)?;
        ensure!(condition(&status, "NextHopsReachable")["status"] == "False" && says(&status, OTHER), "{status}");
        lab.node.ip("link set eth1 up")?;
        await_status(&scene.admin, &object, |s| !says(s, NODE) && s["exitNodes"] == 1)?;
        // What a node said goes with the node.
        other.kill9()?;
        scene.admin.run(&["delete", "node", OTHER])?;
        await_status(&scene.admin, &object, |s| !says(s, OTHER) && s["exitNodes"] == 1)?;
        Ok(())
    })
}
