//! Nodes that are registered with a startup taint.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::life::{Life, NODES, members};
use crate::objects::{Pods, route};
use crate::product::SYSTEM;

/// Key of the taint in `install/components/startup-taint`.
const KEY: &str = "sortie.dev/not-ready";
/// A taint that somebody else takes away.
const OTHER: &str = "example.org/other";

/// Installs where all nodes have the taint.
pub(crate) fn pods_wait_until_the_helper_of_a_new_node_is_ready(life: &Life) -> Result<()> {
    let kubectl = &life.product.kubectl;
    for taint in [format!("{KEY}=:NoSchedule"), format!("{OTHER}=:PreferNoSchedule")] {
        kubectl.run(&["taint", "nodes", "--all", &taint])?;
    }
    let definitions = life.desk.join("install/kustomize/crds.yaml").display().to_string();
    kubectl.run(&["apply", "-f", &definitions])?;
    kubectl.run(&["wait", "--for=condition=established", "--timeout=60s", "crd", "--all"])?;
    kubectl.apply(&route().to_string())?;
    let waiting = Pods { labels: json!({}), annotations: json!({"sortie.dev/route": "b"}), ..members("waiting") };
    kubectl.apply(&waiting.deployment(3).to_string())?;
    life.product.until("a pod that cannot be placed", || reason(life).as_deref() == Some("Unschedulable"))?;
    life.product.install(&life.desk.join("tainted"))?;
    life.says("installed")?;
    let untainted = || NODES.iter().all(|node| taints(life, *node).is_ok_and(|keys| keys == [OTHER]));
    life.product.until("nodes without the taint", untainted)?;
    life.product.rolled_out("waiting")?;
    let pods: Vec<String> = life.product.pods("waiting")?.into_iter().map(|pod| pod.name).collect();
    life.go_on(&pods)?;
    a_helper_changes_nothing_else(life)?;
    kubectl.run(&["delete", "deployment", "waiting"])?;
    kubectl.run(&["taint", "nodes", "--all", &format!("{OTHER}-")])?;
    life.says("startup taint")?;
    Ok(())
}

/// Why the pod that waits is not placed.
fn reason(life: &Life) -> Option<String> {
    let list = life.product.kubectl.get(&["pods", "-l", "app=waiting"]).ok()?;
    let conditions = list["items"][0]["status"]["conditions"].as_array()?.clone();
    conditions.iter().find_map(|one| one["reason"].as_str()).map(str::to_owned)
}

fn taints(life: &Life, node: usize) -> Result<Vec<String>> {
    let node = life.product.kubectl.get(&["node", &format!("n{node}")])?;
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    Ok(taints.iter().filter_map(|taint| taint["key"].as_str()).map(str::to_owned).collect())
}

/// With a token as the helper of n1 has it.
fn a_helper_changes_nothing_else(life: &Life) -> Result<()> {
    let (api, admin) = (&life.product.cluster.api, &life.product.kubectl);
    // kubectl reads a Node before it changes it; the helper does not.
    let account = format!("--serviceaccount={SYSTEM}:sortie-helper");
    admin.run(&["create", "clusterrole", "looks", "--verb=get", "--resource=nodes"])?;
    admin.run(&["create", "clusterrolebinding", "looks", "--clusterrole=looks", &account])?;
    let helper = api.kubectl_as("helper-of-n1", &api.account_on("n1", (SYSTEM, "sortie-helper"))?)?;
    let patch = |node: &str, what: &Value| {
        let said = helper.output(&["patch", "node", node, "--type=merge", "-p", &what.to_string()])?;
        anyhow::Ok(String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned())
    };
    let refused = [
        ("n2", json!({"metadata": {"labels": {"a": "b"}}}), "runs on only"),
        ("n1", json!({"spec": {"taints": []}}), "changes no other"),
        ("n1", json!({"spec": {"unschedulable": true}}), "nothing else"),
        ("n1", json!({"metadata": {"labels": {"a": "b"}}}), "nothing else"),
    ];
    for (node, what, why) in refused {
        let said = patch(node, &what)?;
        ensure!(said.contains(why), "{what} of {node}: {said}");
    }
    admin.run(&["delete", "clusterrole,clusterrolebinding", "looks"]).map(drop)
}
