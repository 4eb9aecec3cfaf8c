//! `explain` says what packets do: every answer is compared with what the far end saw.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where its assumption does")]

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sortie_testkit::cluster::{Cluster, ClusterNode, SERVER, SERVER6, manifests};
use sortie_testkit::lab::{PATIENCE, SILENCE, server4, servers};
use sortie_testkit::{
    Capture, Captured, Flow, Lab, Pod, PodSpec, Transport, command, helper, manifest, poll, probe, programs,
};
use sortie_tests::expect::is_dropped_soon;
use sortie_tests::scene::SOON;
use sortie_tests::{Scene, scenario};

/// Runs `explain` with these words.
fn run(lab: &Lab, words: &[&str]) -> Result<Output> {
    run_at(&helper::socket(lab), words)
}

fn run_at(socket: &Path, words: &[&str]) -> Result<Output> {
    let mut ask = Command::new(programs::ours("sortie-helper")?);
    ask.arg("explain").args(words).arg("--socket").arg(socket);
    command::output(&mut ask, "")
}

/// The answer about a flow of a pod in the namespace `default`.
fn explained(lab: &Lab, pod: &str, flow: Flow) -> Result<Value> {
    explained_at(&helper::socket(lab), pod, flow)
}

fn explained_at(socket: &Path, pod: &str, flow: Flow) -> Result<Value> {
    let (pod, to) = (format!("default/{pod}"), flow.to.to_string());
    let mut words = vec!["--pod", &pod, "--protocol", flow.transport.name(), "--destination", &to, "-o", "json"];
    let port = flow.port.to_string();
    words.extend(["--source-port", &port]);
    let output = run_at(socket, &words)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("no JSON")
}

fn failed(told: &Value) -> Vec<String> {
    let checks = told["checks"].as_array().cloned().unwrap_or_default();
    checks.iter().filter(|c| c["finding"] == "fails").map(|c| format!("{} {}", c["check"], c["message"])).collect()
}

fn addresses(told: &Value) -> Vec<IpAddr> {
    let list = told["source"]["addresses"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|a| a.as_str()?.parse().ok()).collect()
}

/// Router by which a device leaves.
fn door(device: &str) -> &'static str {
    match device {
        "eth1" => "b",
        "eth2" => "c",
        _ => "a",
    }
}

/// The packet does what the answer says, and the kernel says the same.
fn holds(lab: &Lab, pod: &Pod, flow: Flow) -> Result<Value> {
    let told = explained(lab, &pod.spec.name, flow)?;
    let about = || format!("{flow}: {told:#}");
    let is_dropped = told["outcome"] == "dropped";
    let seen = probe(&pod.namespace, flow, if is_dropped { SILENCE } else { PATIENCE })?;
    match (told["outcome"].as_str().unwrap_or_default(), seen) {
        ("dropped", None) => ensure!(!failed(&told).is_empty(), "no check fails: {}", about()),
        ("mainTable", Some(seen)) => ensure!(seen.door == "a", "{seen}: {}", about()),
        (outcome @ ("route" | "address"), Some(seen)) => {
            let device = told["way"]["nextHops"][0]["device"].as_str().unwrap_or_default();
            ensure!(seen.door == door(device), "{seen}: {}", about());
            ensure!(addresses(&told) == [seen.source.ip()], "{seen}: {}", about());
            ensure!(failed(&told).is_empty() && (outcome == "address" || device.starts_with("eth")), "{}", about());
        }
        (_, seen) => anyhow::bail!("the far end saw {seen:?}: {}", about()),
    }
    let said = told["kernel"].as_array().cloned().unwrap_or_default();
    let is_said = told["way"].is_object();
    ensure!(!is_said || !said.is_empty() && said.iter().all(|k| k["agrees"] == true), "the kernel: {}", about());
    Ok(told)
}

fn all(port: u16) -> Vec<Flow> {
    let flow = |to: SocketAddr| Transport::ALL.map(|transport| Flow { transport, port, to });
    servers(7000).into_iter().flat_map(flow).collect()
}

#[test]
fn selected_and_other_flows_do_what_is_said_in_both_modes() -> Result<()> {
    for mode in ["rules", "marks"] {
        scenario(|lab| {
            let scene = Scene::new(lab, &["--steering", mode])?;
            let whole = scene.pod_by("whole", "b")?;
            let spec = PodSpec::new("narrow")
                .with("route", "c")
                .with("ports", "udp:5060")
                .with("destinations", "192.0.2.0/24");
            let narrow = scene.cni.pod(spec)?;
            let plain = scene.plain_pod("plain")?;
            for flow in all(5060) {
                let told = holds(lab, &whole, flow)?;
                assert_eq!(
                    (&told["outcome"], &told["decidedBy"]["object"]),
                    (&"route".into(), &"Pod default/whole".into())
                );
                assert_eq!(told["way"]["route"], "b");
            }
            assert_eq!(holds(lab, &narrow, Flow::udp(5060, server4(7000)))?["way"]["route"], "c");
            let other = holds(lab, &narrow, Flow::udp(5061, server4(7000)))?;
            assert_eq!(
                (&other["outcome"], &other["others"][0]["why"]),
                (&"mainTable".into(), &"another source port".into())
            );
            assert_eq!(holds(lab, &narrow, Flow::tcp(5060, server4(7000)))?["outcome"], "mainTable");
            assert_eq!(holds(lab, &narrow, Flow::udp(5060, servers(7000)[1]))?["outcome"], "mainTable");
            assert_eq!(holds(lab, &plain, Flow::udp(5060, server4(7000)))?["outcome"], "mainTable");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_destination_inside_the_cluster_takes_the_main_table() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let (chosen, other) = (scene.pod_by("chosen", "b")?, scene.plain_pod("other")?);
        for to in [other.ip4()?, other.ip6()?, "10.10.0.11".parse()?] {
            let told = explained(lab, "chosen", Flow::udp(4000, (to, 7000).into()))?;
            assert_eq!(told["outcome"], "mainTable", "{told:#}");
            ensure!(told["summary"].as_str().unwrap().contains("never selected"), "{told:#}");
        }
        ensure!(sortie_testkit::ping(&chosen.namespace, other.ip4()?, PATIENCE)?, "pods do not reach each other");
        Ok(())
    })
}

#[test]
fn a_dead_next_hop_is_named_and_its_packets_are_dropped() -> Result<()> {
    scenario(|lab| {
        let health = "  health: {mode: Neighbour, intervalMilliseconds: 100, failures: 2}\n";
        lab.manifest("hop.yaml", &manifest::route_with("probed", &manifest::hops("b", ""), health))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("chosen", "probed")?;
        holds(lab, &pod, Flow::udp(4000, server4(7000)))?;
        lab.router("b").ip("link set dev node arp off\naddr del 172.16.1.1/24 dev node")?;
        is_dropped_soon(&pod.namespace, Flow::udp(4001, server4(7000)))?;
        let told = poll(SOON, "the next hop to be unusable", || {
            explained(lab, "chosen", Flow::udp(4002, server4(7000))).ok().filter(|told| told["outcome"] == "dropped")
        })?;
        ensure!(failed(&told).iter().any(|f| f.contains("nextHop") && f.contains("172.16.1.1")), "{told:#}");
        assert_eq!(told["way"]["unusable"][0]["gateway"], "172.16.1.1");
        holds(lab, &pod, Flow::udp(4003, server4(7000)))?;
        lab.node.ip("link set dev eth1 down")?;
        poll(SOON, "the device to be down", || {
            let told = explained(lab, "chosen", Flow::udp(4004, servers(7000)[1])).ok()?;
            failed(&told).iter().any(|f| f.contains("eth1 is down")).then_some(())
        })?;
        Ok(())
    })
}

#[test]
fn the_address_of_a_service_is_the_source_that_is_said() -> Result<()> {
    scenario(|lab| {
        let ports = "{protocol: UDP, port: 5060, targetPort: 5060}";
        let service = manifest::service("sip", "sortie.dev/route: b", ports);
        let web = manifest::service("web", "sortie.dev/egress: 'true'", ports);
        let pods = [manifest::pod("sip-1", "sip"), manifest::pod("web-1", "web")];
        lab.manifest("sip.yaml", &manifest::all(&[vec![manifest::pool(), service, web], pods.to_vec()].concat()))?;
        let scene = Scene::new(lab, &[])?;
        let (sip, web) = (scene.plain_pod("sip-1")?, scene.plain_pod("web-1")?);
        for to in servers(7000) {
            let told = holds(lab, &sip, Flow::udp(5060, to))?;
            assert_eq!(
                (&told["source"]["service"], &told["source"]["owner"]),
                (&"default/sip".into(), &"node1".into())
            );
            assert_eq!(holds(lab, &web, Flow::tcp(9999, to))?["outcome"], "address");
        }
        assert_eq!(holds(lab, &sip, Flow::udp(9999, server4(7000)))?["outcome"], "mainTable");
        Ok(())
    })
}

#[test]
fn a_refused_wish_of_an_object_is_named_and_its_flows_are_dropped() -> Result<()> {
    scenario(|lab| {
        let missing = manifest::policy("default", "missing", "podSelector: {}, route: nowhere");
        lab.manifest("policy.yaml", &manifest::all(&[missing, manifest::pod("chosen", "x")]))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.plain_pod("chosen")?;
        let told = holds(lab, &pod, Flow::udp(4000, server4(7000)))?;
        assert_eq!(told["outcome"], "dropped");
        ensure!(told["summary"].as_str().unwrap().contains("nowhere does not exist"), "{told:#}");
        Ok(())
    })
}

/// A rule of somebody else, and a switch that somebody turns, are seen where only the kernel knows.
#[test]
fn what_the_kernel_does_otherwise_is_a_finding() -> Result<()> {
    scenario(|lab| {
        let mut scene = Scene::new(lab, &["--steering", "marks"])?;
        let pod = scene.pod_by("chosen", "b")?;
        let flow = Flow::udp(4000, server4(7000));
        holds(lab, &pod, flow)?;
        lab.node.ip("rule add pref 1000 to 192.0.2.0/24 lookup main")?;
        let told = explained(lab, "chosen", flow)?;
        ensure!(failed(&told).iter().any(|f| f.contains("routing") && f.contains("table 254")), "{told:#}");
        assert_eq!(told["kernel"][0]["agrees"], false);
        lab.node.ip("rule del pref 1000")?;
        holds(lab, &pod, Flow::udp(4001, server4(7000)))?;
        // The helper may mend it between the two.
        poll(SOON, "a word about answers", || {
            lab.node.sysctl("net/ipv4/conf/eth1/src_valid_mark", "0").ok()?;
            let told = explained(lab, "chosen", flow).ok()?;
            failed(&told).iter().any(|f| f.contains("answers") && f.contains("rp_filter")).then_some(())
        })?;
        scene.helper.stop()
    })
}

#[test]
fn a_pod_that_is_not_here_is_said_to_be_unknown_or_elsewhere() -> Result<()> {
    scenario(|lab| {
        let pods = [manifest::pod("there", "x").replace("node1", "node2"), manifest::pod("late", "x")];
        let host = manifest::pod("host", "x").replace("{nodeName: node1}", "{nodeName: node1, hostNetwork: true}");
        lab.manifest("pods.yaml", &manifest::all(&[pods.to_vec(), vec![host]].concat()))?;
        let mut scene = Scene::new(lab, &[])?;
        for (pod, word) in [
            ("nobody", "is not known"),
            ("there", "runs on node node2"),
            ("host", "hostNetwork"),
            ("late", "not attached"),
        ] {
            let told = explained(lab, pod, Flow::udp(4000, server4(7000)))?;
            assert_eq!(told["outcome"], "unknown", "{told:#}");
            ensure!(told["summary"].as_str().unwrap().contains(word), "{told:#}");
        }
        let text = run(lab, &["--pod", "nobody", "--protocol", "icmp", "--destination", "[2001:db8::1]"])?;
        ensure!(
            String::from_utf8_lossy(&text.stdout).contains("icmp to 2001:db8::1 of Pod default/nobody"),
            "{text:?}"
        );
        let wrong = run(lab, &["--pod", "a/b", "--protocol", "udp", "--destination", "[2001:db8::1]:70000"])?;
        assert_eq!(wrong.status.code(), Some(2));
        ensure!(String::from_utf8_lossy(&wrong.stderr).contains("--destination"), "{wrong:?}");
        scene.helper.stop()?;
        let silent = run(lab, &["--pod", "nobody", "--protocol", "tcp", "--destination", "192.0.2.1"])?;
        assert_eq!(silent.status.code(), Some(1));
        ensure!(String::from_utf8_lossy(&silent.stderr).contains("doctor"), "{silent:?}");
        Ok(())
    })
}

/// Longest time for busy nodes to agree.
const AGREE: Duration = Duration::from_secs(30);

/// What a pod's node says, and what its packet does; nothing while the address moves, as it may on a busy machine.
fn said_and_done(cluster: &Cluster, node: &ClusterNode, to: SocketAddr) -> Option<String> {
    let (flow, name) = (Flow::udp(5060, to), format!("n{}", node.number));
    let told = explained_at(&cluster.socket(node.number), &format!("sip-{}", node.number), flow).ok()?;
    let owner = told["source"]["owner"].as_str()?.to_owned();
    let (is_owner, seen) = (owner == name, probe(&node.pod, flow, PATIENCE).ok()??);
    let has_permission = told["checks"].to_string().contains("the permission to send with it is there");
    let agrees = told["outcome"] == if is_owner { "route" } else { "tunnel" }
        && told["way"]["node"] == owner.as_str()
        && failed(&told).is_empty()
        && (told["source"]["leased"] == true, has_permission) == (is_owner, is_owner)
        && addresses(&told) == [seen.source.ip()];
    agrees.then_some(owner)
}

/// The owner sends itself, the others send by it, and the switch sees the packets come from it.
#[test]
fn what_leaves_by_another_node_is_said_with_that_node() -> Result<()> {
    let mut cluster = Cluster::new(3)?;
    cluster.manifest("all.yaml", &manifests(3))?;
    for number in 1..=3 {
        cluster.start(number)?;
    }
    let capture = Capture::start(&cluster.switch)?;
    cluster.await_owner(&[1, 2, 3], AGREE)?;
    let servers = [SocketAddr::from(SERVER), SERVER6.into()];
    let outward = |c: &&Captured| c.is_incoming && servers.iter().any(|server| server.ip() == c.packet.destination);
    for node in &cluster.nodes {
        for to in servers {
            let owner = poll(AGREE, "an answer that holds", || said_and_done(&cluster, node, to))
                .with_context(|| cluster.logs())?;
            let packets = capture.packets()?;
            let last = packets.iter().rfind(outward).context("nothing left")?;
            assert_eq!(last.device, format!("{owner}o"), "{}", cluster.logs());
        }
    }
    Ok(())
}
