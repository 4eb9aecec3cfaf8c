//! Addresses of Services on three nodes whose Services are translated by kube-proxy itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where its assumption does")]

#[path = "proxy/asking.rs"]
mod asking;
#[path = "proxy/stage.rs"]
mod proxies;
#[path = "proxy/service.rs"]
mod service;
#[path = "tunnel/stage.rs"]
mod stage;

use std::io::ErrorKind;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sortie_testkit::kube::Proxy;
use sortie_testkit::{Flow, kernel, probe, until};

use asking::{NODE_PORTS, PORTS, asks, flows_to, refused};
use proxies::Stage;
use service::Policy;
use stage::{AGREE, left, others, serve, servers, streams, vips};

/// How long nothing is waited for.
const SILENCE: std::time::Duration = std::time::Duration::from_millis(300);

#[test]
fn clients_and_pods_use_the_address_behind_iptables_of_kube_proxy() -> Result<()> {
    all(Proxy::Iptables)
}

#[test]
fn clients_and_pods_use_the_address_behind_nftables_of_kube_proxy() -> Result<()> {
    all(Proxy::Nftables)
}

fn all(mode: Proxy) -> Result<()> {
    let mut stage = Stage::new(mode)?;
    errors_of_the_far_end_reach_pods(&stage)?;
    for (policy, place) in
        [(Policy::Cluster, Place::Owner), (Policy::Cluster, Place::Other), (Policy::Local, Place::Owner)]
    {
        stage.steadily(|stage| clients_reach_the_pod_by_the_address(stage, policy, place))?;
        stage.says(&format!("{policy:?}, pod of {place:?}"));
    }
    stage.steadily(without_a_pod_the_owner_answers_nobody)?;
    stage.steadily(a_node_that_does_not_own_the_address_answers_nobody)?;
    stage.says("led to another node");
    stage.steadily(clients_reach_the_pod_by_the_port_of_a_node)?;
    stage.says("ports of nodes");
    let down = pods_go_on_at_the_next_owner(&mut stage)?;
    stage.steadily(|stage| clients_reach_the_pod_by_the_address(stage, Policy::Cluster, Place::Other))?;
    stage.says("next owner");
    stage.steadily(|stage| pods_beside_a_dead_helper_call_the_address(stage, down))?;
    stage.says("asked from the node of a dead helper");
    Ok(())
}

/// Whose pod it is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Owner,
    /// A node with a helper that is not the owner.
    Other,
}

impl Place {
    fn of(self, stage: &Stage) -> Result<usize> {
        match self {
            Self::Owner => Ok(stage.owner),
            Self::Other => stage.well.iter().copied().find(|node| *node != stage.owner).context("no other node"),
        }
    }
}

/// Nobody listens there: its kernel says so, and the pod hears it.
fn errors_of_the_far_end_reach_pods(stage: &Stage) -> Result<()> {
    for node in &stage.cluster.nodes {
        for server in servers() {
            let heard = refused(&node.pod, (5060, (server.ip(), 9).into()))?;
            assert_eq!(heard, ErrorKind::ConnectionRefused, "n{} {server}", node.number);
        }
    }
    Ok(())
}

fn clients_reach_the_pod_by_the_address(stage: &mut Stage, policy: Policy, place: Place) -> Result<()> {
    let pod = place.of(stage)?;
    stage.offer(policy, pod)?;
    asked_by_the_address(stage, (policy, pod))
        .with_context(|| format!("{policy:?}, pod of n{pod}, owner n{}\n{}", stage.owner, stage.account()))
}

fn asked_by_the_address(stage: &Stage, (policy, pod): (Policy, usize)) -> Result<()> {
    let client = &stage.cluster.server;
    for vip in vips() {
        let heard = refused(client, (stage.port() + 100, (vip, 5060).into()))?;
        ensure!(heard == ErrorKind::ConnectionRefused, "{vip}: {heard:?}");
    }
    let _echo = serve(&stage.cluster, pod)?;
    for (vip, server) in vips().into_iter().zip(servers()) {
        for seen in asks(client, (stage.port(), flows_to(vip, PORTS)), pod)? {
            ensure!((seen.source.ip() == server.ip()) == (policy == Policy::Local), "{seen}");
        }
        for number in &stage.well {
            let asking = &stage.cluster.nodes[number - 1].pod;
            asks(asking, (stage.port(), flows_to(vip, PORTS)), pod).with_context(|| format!("asked by p{number}"))?;
        }
    }
    let (seen, expected) = (stage.answers()?, vips().map(|vip| (format!("n{}o", stage.owner), vip)));
    ensure!(seen == expected, "answered by {seen:?}");
    Ok(())
}

/// As policy `Local` has it: kube-proxy drops what comes to a node without a pod.
fn without_a_pod_the_owner_answers_nobody(stage: &mut Stage) -> Result<()> {
    stage.offer(Policy::Local, Place::Other.of(stage)?)?;
    for flow in vips().into_iter().flat_map(|vip| flows_to(vip, PORTS)) {
        let flow = Flow { port: stage.port(), ..flow };
        ensure!(probe(&stage.cluster.server, flow, SILENCE)?.is_none(), "{flow} was answered");
    }
    let seen = stage.answers()?;
    ensure!(seen.is_empty(), "answered by {seen:?}");
    Ok(())
}

/// Its own pod would answer, and by the main table: not by the route, and past the owner.
fn a_node_that_does_not_own_the_address_answers_nobody(stage: &mut Stage) -> Result<()> {
    let node = Place::Other.of(stage)?;
    stage.offer(Policy::Local, node)?;
    let (client, at) = (&stage.cluster.switch, &stage.cluster.nodes[node - 1].namespace);
    let gates = [format!("10.10.0.{node}"), format!("fd00:10::{node}")];
    for (vip, gate) in vips().into_iter().zip(&gates) {
        until(AGREE, "a neighbour", || client.run("ping", &["-c", "1", "-W", "1", gate]).is_ok())?;
        client.ip(&format!("route replace {vip} via {gate} dev lan"))?;
    }
    let _echo = serve(&stage.cluster, node)?;
    for vip in vips() {
        let before = kernel::counter(at, "drop_unserved")?;
        for flow in flows_to(vip, PORTS) {
            let flow = Flow { port: stage.port(), ..flow };
            ensure!(probe(client, flow, SILENCE)?.is_none(), "{flow} was answered by n{node}, owner n{}", stage.owner);
        }
        let dropped = kernel::counter(at, "drop_unserved")? - before;
        ensure!(dropped >= 3, "n{node} dropped {dropped} for {vip}\n{}", stage.account());
        client.ip(&format!("route del {vip}"))?;
    }
    Ok(())
}

/// With policy `Local` by that of the pod's node; with `Cluster` by that of a node that has neither pod nor address.
fn clients_reach_the_pod_by_the_port_of_a_node(stage: &mut Stage) -> Result<()> {
    let pod = Place::Other.of(stage)?;
    let third = others(pod).into_iter().find(|node| *node != stage.owner).context("three nodes")?;
    for (policy, node) in [(Policy::Local, pod), (Policy::Cluster, third)] {
        stage.offer(policy, pod)?;
        asked_by_the_port(stage, (node, pod)).with_context(|| format!("{policy:?}\n{}", stage.account()))?;
    }
    Ok(())
}

/// One client is a neighbour where the route leaves, the other where the nodes talk.
fn asked_by_the_port(stage: &Stage, (node, pod): (usize, usize)) -> Result<()> {
    let _echo = serve(&stage.cluster, pod)?;
    let doors = [
        (&stage.cluster.router, [format!("172.16.1.1{node}"), format!("fd00:16::1{node}")]),
        (&stage.cluster.switch, [format!("10.10.0.{node}"), format!("fd00:10::{node}")]),
    ];
    for (client, addresses) in doors {
        for address in addresses {
            asks(client, (stage.port(), flows_to(address.parse()?, NODE_PORTS)), pod)?;
        }
    }
    let strays: Vec<_> = stage.answers()?.into_iter().filter(|(port, _)| *port != format!("n{node}o")).collect();
    ensure!(strays.is_empty(), "answers went another way: {strays:?}");
    Ok(())
}

/// Such a call stays in the cluster and needs no permission, which has run out there.
fn pods_beside_a_dead_helper_call_the_address(stage: &mut Stage, down: usize) -> Result<()> {
    for pod in [down, stage.owner] {
        stage.offer(Policy::Cluster, pod)?;
        let _echo = serve(&stage.cluster, pod)?;
        for vip in vips() {
            let asked = asks(&stage.cluster.nodes[down - 1].pod, (stage.port(), flows_to(vip, PORTS)), pod);
            asked.with_context(|| format!("p{down} asked p{pod} by {vip}\n{}", stage.account()))?;
        }
    }
    Ok(())
}

/// Returns the one before.
fn pods_go_on_at_the_next_owner(stage: &mut Stage) -> Result<usize> {
    let (before, streams) = (stage.cluster.await_owner(&stage.well, AGREE)?, streams(&stage.cluster)?);
    for stream in &streams {
        stream.answered(20, AGREE).with_context(|| stage.account())?;
    }
    stage.cluster.signal(before, Signal::SIGKILL)?;
    stage.well = others(before);
    for number in &stage.well {
        streams[number - 1].answered(40, AGREE).with_context(|| stage.account())?;
    }
    drop(streams);
    let is_stray = |(port, source): &(String, _)| !port.ends_with('o') || !vips().contains(source);
    let strays: Vec<_> = left(&stage.capture)?.into_iter().filter(is_stray).collect();
    ensure!(strays.is_empty(), "{strays:?}");
    Ok(before)
}
