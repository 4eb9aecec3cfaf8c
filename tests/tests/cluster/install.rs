//! The product on a real cluster: installed by its manifests, used, and taken off again.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sortie_testkit::kube::{Place, list};

use crate::desk::Desk;
use crate::edits;
use crate::objects::{route, service, vips};
use crate::product::{Pod, Product, SYSTEM};
use crate::residue::{conflist, nothing_is_left};
use crate::wire::{Sent, Wire, seen};

/// All nodes.
const NODES: [usize; 3] = [1, 2, 3];

#[test]
fn what_install_says_makes_pods_of_a_cluster_leave_by_their_routes_and_uninstall_takes_it_off() -> Result<()> {
    let started = Instant::now();
    let said = |what: &str| eprintln!("{:>6} ms  {what}", started.elapsed().as_millis());
    let mut product = Product::new()?;
    let desk = Desk::new(&product.cluster)?;
    said("cluster");
    let before = NODES.map(|node| conflist(&product.cluster, node)).into_iter().collect::<Result<Vec<_>>>()?;
    desk.follow(&product.cluster, ("install/README.md", "install"))?;
    said("installed");
    every_node_passes_its_pods_through_us(&product)?;
    let wire = Wire::new(&product.cluster.site.switch)?;
    annotated_and_selected_pods_leave_by_their_route_from_the_first_datagram(&product, &wire)?;
    said("routes");
    a_rolling_restart_leaks_nothing(&product, &wire)?;
    said("rolling restart");
    pods_that_are_deleted_leak_nothing_to_their_end(&product, &wire)?;
    said("deletion");
    a_service_gets_an_address_that_its_pods_on_all_nodes_leave_with(&product, &wire)?;
    desk.follow(&product.cluster, ("docs/kubernetes.md", "look"))?;
    said("Service");
    edits::pods_follow_their_route_to_another_router_and_back(&product, &wire)?;
    said("route edited and edited back");
    pods_go_on_when_the_owners_helper_is_killed(&product, &wire)?;
    said("kill");
    pods_go_on_when_the_owner_is_drained(&product, &wire)?;
    said("drain");
    pods_go_on_when_the_owner_loses_its_power_and_the_node_comes_back(&mut product, &wire)?;
    said("power cut and boot");
    desk.follow(&product.cluster, ("install/README.md", "remove"))?;
    said("uninstalled");
    desk.follow(&product.cluster, ("docs/operations.md", "nothing is left"))?;
    for (node, before) in NODES.into_iter().zip(before) {
        nothing_is_left(&product.cluster, node, &before)?;
    }
    no_service_says_anything_of_us(&product)
}

fn no_service_says_anything_of_us(product: &Product) -> Result<()> {
    let services = product.kubectl.get(&["services", "--all-namespaces"])?.to_string();
    ensure!(services.contains("sortie.dev/vip"), "no Service of ours is there any more: {services}");
    for word in ["owner-node", "EgressReady", "\"ingress\""] {
        ensure!(!services.contains(word), "{word} is left: {services}");
    }
    Ok(())
}

fn every_node_passes_its_pods_through_us(product: &Product) -> Result<()> {
    for node in NODES {
        let list: Value = serde_json::from_str(&conflist(&product.cluster, node)?)?;
        let last = list["plugins"].as_array().and_then(|plugins| plugins.last());
        ensure!(last.is_some_and(|entry| entry["type"] == "sortie"), "conflist of n{node}: {list:#}");
        ensure!(product.disk(node, "opt/cni/bin/sortie")?.is_file(), "no plugin on n{node}");
        ensure!(product.status(node)?["ready"] == true, "{}", product.account());
    }
    product.kubectl.run(&["get", "sor,egp,vippool"]).map(drop)
}

/// A policy for pods labelled `app: policed`.
fn policy() -> Value {
    json!({
        "apiVersion": "sortie.dev/v1alpha1", "kind": "EgressPolicy",
        "metadata": {"name": "policed", "namespace": "default"},
        "spec": {"podSelector": {"matchLabels": {"app": "policed"}}, "route": "b"},
    })
}

/// By eth1 of some node, with its address.
fn by_b(sent: &Sent) -> bool {
    NODES.iter().any(|node| sent.port == format!("n{node}o") && Place(*node).outer().contains(&sent.source))
}

fn annotated_and_selected_pods_leave_by_their_route_from_the_first_datagram(
    product: &Product,
    wire: &Wire,
) -> Result<()> {
    product.kubectl.apply(&list(&[route(), policy()]))?;
    for (app, annotations) in [("annotated", json!({"sortie.dev/route": "b"})), ("policed", json!({}))] {
        product.deploy((app, 6), annotations)?;
        let pods = product.pods(app)?;
        ensure!(NODES.iter().all(|node| pods.iter().any(|pod| pod.node == *node)), "not on all nodes: {pods:?}");
        for pod in &pods {
            await_first(product, wire, pod)?;
        }
        for (family, pod) in [(0, &pods[0]), (1, &pods[1])] {
            let answer = seen(&product.ask(pod, family).with_context(|| product.account())?)?;
            assert_eq!(answer, ("b".to_owned(), Place(pod.node).outer()[family]), "{pod:?}");
        }
        wire.only(app, by_b).with_context(|| product.account())?;
    }
    Ok(())
}

/// The first datagram of a pod is not missing.
fn await_first(product: &Product, wire: &Wire, pod: &Pod) -> Result<()> {
    product.until("datagrams of a pod", || wire.first(&pod.name).is_ok_and(|first| !first.contains(&None)))?;
    assert_eq!(wire.first(&pod.name)?, [Some(0), Some(0)], "{pod:?}");
    Ok(())
}

fn a_rolling_restart_leaks_nothing(product: &Product, wire: &Wire) -> Result<()> {
    let count = 9;
    product.deploy(("annotated", count), json!({"sortie.dev/route": "b"}))?;
    let before = product.pods("annotated")?;
    product.kubectl.run(&["rollout", "restart", "deployment/annotated"])?;
    product.cluster.rolled_out(&["deployment/annotated"])?;
    let after = product.pods("annotated")?;
    ensure!(after.len() == count && !after.iter().any(|pod| before.contains(pod)), "not restarted: {after:?}");
    for pod in &after {
        await_first(product, wire, pod)?;
    }
    wire.only("annotated", by_b).with_context(|| product.account())?;
    Ok(())
}

/// Without a grace period the objects are gone while the pods still send.
fn pods_that_are_deleted_leak_nothing_to_their_end(product: &Product, wire: &Wire) -> Result<()> {
    product.kubectl.run(&["delete", "deployment", "annotated", "policed"])?;
    for app in ["annotated", "policed"] {
        product.until("the end of pods", || wire.is_quiet(app).unwrap_or(false))?;
        wire.only(app, by_b).with_context(|| product.account())?;
    }
    Ok(())
}

fn a_service_gets_an_address_that_its_pods_on_all_nodes_leave_with(product: &Product, wire: &Wire) -> Result<()> {
    product.kubectl.apply(&list(&service(&json!({"app": "sip"}))))?;
    product.await_addresses()?;
    product.owner(&NODES)?;
    product.deploy(("sip", 6), json!({}))?;
    let pods = product.pods("sip")?;
    ensure!(NODES.iter().all(|node| pods.iter().any(|pod| pod.node == *node)), "not on all nodes: {pods:?}");
    go_on(product, wire, &pods)
}

/// Pods are answered in both families, by now or soon, and nothing of them ever left without an address of the Service.
/// On a busy machine an owner may lose its permission for a moment, so the first datagrams of a pod may be missing.
fn go_on(product: &Product, wire: &Wire, pods: &[Pod]) -> Result<()> {
    let vips = vips()?;
    for (pod, family) in pods.iter().flat_map(|pod| [(pod, 0), (pod, 1)]) {
        let said = || product.ask(pod, family).ok().and_then(|answer| seen(&answer).ok());
        product.until("an answer from the server", || said() == Some(("b".to_owned(), vips[family])))?;
    }
    let fits = |sent: &Sent| sent.port.ends_with('o') && vips.contains(&sent.source);
    wire.only("sip", fits).with_context(|| product.account())
}

fn others(node: usize) -> Vec<usize> {
    NODES.into_iter().filter(|other| *other != node).collect()
}

fn pods_go_on_when_the_owners_helper_is_killed(product: &Product, wire: &Wire) -> Result<()> {
    let owner = product.owner(&NODES)?;
    let node = product.cluster.node(owner)?.inside()?;
    let helper = node.run("pgrep", &["-f", "^/sortie-helper run"])?;
    node.run("kill", &["-9", helper.trim()])?;
    product.until("another owner", || product.owner(&others(owner)).is_ok_and(|new| new != owner))?;
    go_on(product, wire, &product.pods("sip")?)?;
    product.cluster.rolled_out(&["daemonset/sortie", "-n", SYSTEM])?;
    go_on(product, wire, &product.pods("sip")?)
}

fn pods_go_on_when_the_owner_is_drained(product: &Product, wire: &Wire) -> Result<()> {
    let owner = format!("n{}", product.owner(&NODES)?);
    product.kubectl.run(&["drain", &owner, "--ignore-daemonsets", "--force"])?;
    product.cluster.rolled_out(&["deployment/sip"])?;
    let pods = product.pods("sip")?;
    ensure!(pods.iter().all(|pod| format!("n{}", pod.node) != owner), "{owner} is not empty: {pods:?}");
    go_on(product, wire, &pods)?;
    product.kubectl.run(&["uncordon", &owner])?;
    product.kubectl.run(&["rollout", "restart", "deployment/sip"])?;
    product.cluster.rolled_out(&["deployment/sip"])?;
    go_on(product, wire, &product.pods("sip")?)
}

fn pods_go_on_when_the_owner_loses_its_power_and_the_node_comes_back(product: &mut Product, wire: &Wire) -> Result<()> {
    let owner = product.owner(&NODES)?;
    let (gone, stay): (Vec<Pod>, Vec<Pod>) = product.pods("sip")?.into_iter().partition(|pod| pod.node == owner);
    ensure!(!gone.is_empty() && !stay.is_empty(), "no pods: {gone:?} {stay:?}");
    product.cluster.cut(owner)?;
    go_on(product, wire, &stay)?;
    product.cluster.boot(owner)?;
    go_on(product, wire, &gone)?;
    go_on(product, wire, &stay)
}
