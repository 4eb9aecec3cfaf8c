//! The API server, a kubelet and a containerd that fail.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sortie_testkit::kube::Daemon;

use crate::life::{Life, NODES, members};
use crate::objects::Pods;
use crate::product::SYSTEM;

/// How many seconds the API server is away, unless this variable says so.
const SECONDS: (&str, u64) = ("SORTIE_TEST_OUTAGE_SECONDS", 35);
/// Kills the process of a pod, or with another word the first process of its sandbox, whose network then goes.
const KILL: &str = "pod=$(pgrep -of \"^/probe send $1\") || exit 1
if [ $2 = process ]; then kill -9 $pod; exit; fi
for one in $(pgrep -xf '/probe pause'); do
    [ $(readlink /proc/$one/ns/net) = $(readlink /proc/$pod/ns/net) ] && kill -9 $one && exit
done
exit 1";
/// A namespace in which nobody asks for anything.
const QUIET: &str = "quiet";

pub(crate) fn pods_go_on_and_come_again_without_the_api_server(life: &mut Life) -> Result<()> {
    let product = &mut life.product;
    product.kubectl.run(&["create", "namespace", QUIET])?;
    let owner = product.owner(&NODES)?;
    let (before, pods) = (life.restarts()?, life.product.pods("sip")?);
    let names: Vec<String> = pods.iter().map(|pod| pod.name.clone()).collect();
    let end = Instant::now() + outage()?;
    life.product.cluster.api.stop();
    life.says("API server stopped")?;
    for node in NODES {
        let here = pods.iter().filter(|pod| pod.node == node).map(|pod| pod.name.as_str());
        for (pod, what) in here.zip(["sandbox", "process"]) {
            again(life, (node, pod), what)?;
        }
    }
    life.says("containers and sandboxes came again")?;
    let early = Pods { labels: json!({}), annotations: json!({"sortie.dev/route": "b"}), ..members("early") };
    manifest(life, 1, Some(&early.alone(QUIET).to_string()), "early")?;
    manifest(life, 1, Some(&members("late").alone("default").to_string()), "late")?;
    life.go_on(&["early-n1".to_owned()])?;
    life.says("a new pod with an annotation")?;
    let other = NODES.into_iter().find(|node| *node != owner).context("no other node")?;
    kill_helper(life, other)?;
    let pod = pods.iter().find(|pod| pod.node == other).context("no pod")?;
    again(life, (other, &pod.name), "sandbox")?;
    life.says("a killed helper")?;
    life.go_on(&names)?;
    life.watch_until(end)?;
    life.product.cluster.api.resume()?;
    life.product.cluster.await_ready()?;
    life.says("API server is back")?;
    life.go_on(&["late-n1".to_owned()])?;
    life.all_go_on()?;
    life.no_connection_broke(&before)?;
    ["early", "late"].into_iter().try_for_each(|name| manifest(life, 1, None, name))?;
    life.product.cluster.rolled_out(&["daemonset/sortie", "-n", SYSTEM])?;
    life.product.kubectl.run(&["rollout", "restart", "deployment/sip"])?;
    life.product.rolled_out("sip")?;
    life.all_go_on()
}

pub(crate) fn pods_go_on_without_kubelet_and_containerd_of_the_owner(life: &mut Life) -> Result<()> {
    let (owner, before) = (life.product.owner(&NODES)?, life.restarts()?);
    for daemon in [Daemon::Kubelet, Daemon::Containerd] {
        life.product.cluster.node_mut(owner)?.kill(daemon)?;
        life.all_go_on()?;
    }
    for daemon in [Daemon::Containerd, Daemon::Kubelet] {
        life.product.cluster.node_mut(owner)?.start(daemon)?;
    }
    life.product.cluster.await_ready()?;
    life.product.kubectl.run(&["rollout", "restart", "deployment/sip"])?;
    life.product.rolled_out("sip")?;
    ensure!(life.product.pods("sip")?.iter().any(|pod| pod.node == owner), "no new pod on n{owner}");
    life.all_go_on()?;
    life.no_connection_broke(&before)?;
    life.says("kubelet and containerd killed")?;
    Ok(())
}

fn outage() -> Result<Duration> {
    let (name, usual) = SECONDS;
    let seconds = std::env::var(name).ok().map_or(Ok(usual), |text| text.parse());
    seconds.map(Duration::from_secs).with_context(|| format!("{name} is no number"))
}

/// Kills something of a pod and waits until its process has begun anew.
fn again(life: &Life, (node, pod): (usize, &str), what: &str) -> Result<()> {
    let stream = (pod.to_owned(), false);
    let before = life.wire.tally(&stream)?.begins;
    let inside = life.product.cluster.node(node)?.inside()?;
    inside.run("sh", &["-c", KILL, "sh", pod, what]).with_context(|| format!("no {what} of {pod} on n{node}"))?;
    life.product.until("a new first datagram", || life.wire.tally(&stream).is_ok_and(|now| now.begins > before))?;
    life.nothing_leaked().map(drop)
}

fn kill_helper(life: &Life, node: usize) -> Result<()> {
    let inside = life.product.cluster.node(node)?.inside()?;
    let helper = inside.run("pgrep", &["-f", "^/sortie-helper run"])?;
    inside.run("kill", &["-9", helper.trim()]).map(drop)
}

/// Writes a pod for the kubelet of a node, or takes it away.
fn manifest(life: &Life, node: usize, text: Option<&str>, name: &str) -> Result<()> {
    let path = life.product.disk(node, "lib/kubelet/manifests")?.join(format!("{name}.json"));
    match text {
        Some(text) => std::fs::write(&path, text),
        None => std::fs::remove_file(&path),
    }
    .with_context(|| path.display().to_string())
}
