//! Clients reach pods of any node by the Service's address and by any node's port.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sortie_testkit::cluster::manifests;
use sortie_testkit::probe::udp_socket;
use sortie_testkit::{Capture, Captured, Flow, Namespace, Transport, kernel, probe, until};

use super::stage::{AGREE, PACE, everybody, others, pod_address, running, serve, vips};

const CLIENT: u16 = 40_000;

/// As kube-proxy does it for external traffic policy `Cluster`: packets to these are translated to the pod's address and
/// leave with the node's own; ports stay.
fn translate(node: &Namespace, (target4, target6): (&str, &str), pod: usize) -> Result<()> {
    let [pod4, pod6] = vips().map(|vip| pod_address(pod, vip));
    node.nft(&format!(
        "table inet proxy {{
           chain in {{ type nat hook prerouting priority -100;
             {target4} meta l4proto {{ tcp, udp, sctp }} meta mark set meta mark or 0x40000000 dnat ip to {pod4}
             {target6} meta l4proto {{ tcp, udp, sctp }} meta mark set meta mark or 0x40000000 dnat ip6 to {pod6}
           }}
           chain out {{ type nat hook postrouting priority 100; meta mark and 0x40000000 != 0 masquerade; }}
         }}"
    ))
}

/// As kube-proxy does it for external traffic policy `Local`: packets to these are translated to the pod's address, and
/// the client's stays.
pub(crate) fn translate_local(node: &Namespace, (target4, target6): (&str, &str), pod: usize) -> Result<()> {
    let [pod4, pod6] = vips().map(|vip| pod_address(pod, vip));
    node.nft(&format!(
        "table inet proxy {{ chain in {{ type nat hook prerouting priority -100;
           {target4} meta l4proto {{ tcp, udp, sctp }} dnat ip to {pod4}
           {target6} meta l4proto {{ tcp, udp, sctp }} dnat ip6 to {pod6}; }}; }}"
    ))
}

/// A client is answered by the pod, over every transport.
fn asks(client: &Namespace, to: IpAddr, pod: usize) -> Result<()> {
    for transport in Transport::ALL {
        let port = if transport == Transport::Sctp { 2905 } else { 5060 };
        let flow = Flow { transport, port: CLIENT, to: (to, port).into() };
        let seen = probe(client, flow, AGREE)?.with_context(|| format!("no answer to {flow} by p{pod}"))?;
        assert_eq!(seen.door, format!("p{pod}"), "{flow}");
    }
    Ok(())
}

/// Ports of the switch, and sources, of what the nodes sent to the client's port outside.
fn answers(capture: &Capture) -> Result<Vec<(String, IpAddr)>> {
    let outward = |c: &Captured| c.is_incoming && c.packet.destination_port == CLIENT && c.device.ends_with('o');
    let sent = capture.packets()?.into_iter().filter(|c| outward(c) && c.device.starts_with('n'));
    let mut list: Vec<_> = sent.map(|c| (c.device, c.packet.source)).collect();
    list.sort();
    list.dedup();
    Ok(list)
}

fn far_client(remote: impl Fn(usize) -> usize) -> Result<()> {
    let (cluster, capture) = running(&manifests(super::COUNT))?;
    let owner = cluster.await_owner(&everybody(&cluster), AGREE)?;
    let pod = remote(owner);
    let _echo = serve(&cluster, pod)?;
    let [vip4, vip6] = vips();
    let targets = (format!("ip daddr {vip4}"), format!("ip6 daddr {vip6}"));
    translate(&cluster.nodes[owner - 1].namespace, (&targets.0, &targets.1), pod)?;
    for vip in vips() {
        asks(&cluster.server, vip, pod).with_context(|| cluster.logs())?;
    }
    let expected = vips().map(|vip| (format!("n{owner}o"), vip)).to_vec();
    assert_eq!(answers(&capture)?, expected);
    Ok(())
}

#[test]
fn a_far_client_reaches_a_pod_of_the_owner_and_is_answered_with_the_address() -> Result<()> {
    far_client(|owner| owner)
}

#[test]
fn a_far_client_reaches_a_pod_of_another_node_and_is_answered_by_the_owner_with_the_address() -> Result<()> {
    far_client(|owner| others(owner)[0])
}

/// A router that knows the address at a node that has lost it, or does not have it yet, sends there.
#[test]
fn a_client_that_was_led_to_another_node_is_answered_when_that_node_takes_over() -> Result<()> {
    let (cluster, _capture) = running(&manifests(super::COUNT))?;
    let owner = cluster.await_owner(&everybody(&cluster), AGREE)?;
    let vip = vips()[0];
    let target = format!("ip daddr {vip}");
    let _echoes = everybody(&cluster).into_iter().map(|node| serve(&cluster, node)).collect::<Result<Vec<_>>>()?;
    let to = SocketAddr::new(vip, 5060);
    let socket = cluster.server.with(|| udp_socket(SocketAddr::new([0; 4].into(), CLIENT)))?;
    socket.connect(to).context("cannot connect")?;
    socket.set_read_timeout(Some(PACE)).context("cannot set a time limit")?;
    let mut answered = || socket.send(b"?").is_ok() && socket.recv(&mut [0; 64]).is_ok();
    for node in others(owner) {
        let other = &cluster.nodes[node - 1];
        translate_local(&other.namespace, (&target, "ip6 daddr ::1"), node)?;
        for device in ["all", "eth1"] {
            other.namespace.sysctl(&format!("net/ipv4/conf/{device}/rp_filter"), "0")?;
        }
        cluster.router.ip(&format!("route replace {vip}/32 via {}", other.outer()))?;
        until(AGREE, "the client at the wrong node", || {
            let is_answered = answered();
            !is_answered && kernel::counter(&other.namespace, "drop_unserved").is_ok_and(|dropped| dropped > 0)
        })?;
    }
    cluster.router.ip(&format!("route del {vip}/32"))?;
    cluster.signal(owner, Signal::SIGKILL)?;
    cluster.await_owner(&others(owner), AGREE)?;
    until(AGREE, "an answer by the new owner", &mut answered).with_context(|| cluster.logs())
}

/// Which pod a node port leads to, seen from the node.
#[derive(Clone, Copy, Debug)]
enum Policy {
    Local,
    Cluster,
}

fn node_port(policy: Policy) -> Result<()> {
    let (cluster, capture) = running(&manifests(super::COUNT))?;
    let owner = cluster.await_owner(&everybody(&cluster), AGREE)?;
    let [node, other] = others(owner)[..] else { anyhow::bail!("three nodes") };
    let namespace = &cluster.nodes[node - 1].namespace;
    let pod = match policy {
        Policy::Local => node,
        Policy::Cluster => other,
    };
    let _echo = serve(&cluster, pod)?;
    let own = "fib daddr type local";
    match policy {
        Policy::Local => translate_local(namespace, (own, own), pod)?,
        Policy::Cluster => translate(namespace, (own, own), pod)?,
    }
    cluster.switch.ip("addr add 10.10.0.99/24 dev lan\n-6 addr add fd00:10::99/64 dev lan nodad")?;
    // One client is a neighbour where the route leaves, the other where the nodes talk.
    let doors = [
        (&cluster.router, [format!("172.16.1.1{node}"), format!("fd00:16::1{node}")]),
        (&cluster.switch, [format!("10.10.0.{node}"), format!("fd00:10::{node}")]),
    ];
    for (client, addresses) in doors {
        for address in addresses {
            asks(client, address.parse()?, pod).with_context(|| format!("{policy:?}\n{}", cluster.logs()))?;
        }
    }
    let strays: Vec<_> = answers(&capture)?.into_iter().filter(|(device, _)| *device != format!("n{node}o")).collect();
    ensure!(strays.is_empty(), "answers went another way: {strays:?}");
    Ok(())
}

#[test]
fn a_node_port_of_a_node_that_is_not_the_owner_answers_by_the_door_of_the_request() -> Result<()> {
    node_port(Policy::Local)
}

#[test]
fn a_node_port_that_leads_to_another_node_answers_by_the_door_of_the_request() -> Result<()> {
    node_port(Policy::Cluster)
}
