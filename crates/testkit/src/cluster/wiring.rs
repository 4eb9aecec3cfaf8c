//! Addresses and routes of the cluster.

use anyhow::Result;

use super::ClusterNode;
use crate::net::{Namespace, Net};
use crate::switch;

/// How packets of pods get to other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodNetwork {
    /// By routes between the nodes.
    Routed,
    /// In a VXLAN between the nodes, whose entries are fixed, as Flannel lays it.
    Overlay,
}

impl PodNetwork {
    pub(super) fn lay(self, nodes: &[ClusterNode]) -> Result<()> {
        nodes.iter().try_for_each(|node| match self {
            Self::Routed => others(nodes, node).try_for_each(|other| {
                node.namespace.ip(&format!(
                    "route add 10.244.{other}.0/24 via 10.10.0.{other}\n\
                     -6 route add fd00:244:{other}::/64 via fd00:10::{other}"
                ))
            }),
            Self::Overlay => overlay(nodes, node),
        })
    }
}

fn others<'a>(nodes: &'a [ClusterNode], node: &ClusterNode) -> impl Iterator<Item = usize> + use<'a> {
    let own = node.number;
    nodes.iter().map(|other| other.number).filter(move |other| *other != own)
}

fn overlay(nodes: &[ClusterNode], node: &ClusterNode) -> Result<()> {
    let (namespace, number) = (&node.namespace, node.number);
    namespace.ip(&format!(
        "link add pods type vxlan id 1 dstport 8472 local 10.10.0.{number} dev eth0 nolearning\n\
         link set dev pods mtu 1450 address 02:00:00:00:01:0{number} up\n\
         addr add 10.244.{number}.0/32 dev pods\n-6 addr add fd00:244:{number}::f/128 dev pods nodad"
    ))?;
    for other in others(nodes, node) {
        let link = format!("02:00:00:00:01:0{other}");
        namespace.ip(&format!(
            "neigh add 10.244.{other}.0 lladdr {link} dev pods nud permanent\n\
             route add 10.244.{other}.0/24 via 10.244.{other}.0 dev pods onlink\n\
             -6 neigh add fd00:244:{other}::f lladdr {link} dev pods nud permanent\n\
             -6 route add fd00:244:{other}::/64 via fd00:244:{other}::f dev pods onlink"
        ))?;
        let to = format!("10.10.0.{other}");
        namespace.run("bridge", &["fdb", "append", &link, "dev", "pods", "dst", &to])?;
    }
    node.pod.ip("link set dev eth0 mtu 1450")
}

/// The switch, the router and the server behind it.
pub(super) fn far(net: &Net) -> Result<(Namespace, Namespace, Namespace)> {
    let (switch, router, server) = (switch::new(net)?, net.namespace("b")?, net.namespace("server")?);
    switch::plug(&switch, ("bo", "out"), (&router, "node"))?;
    router.wire("server", (&server, "b"))?;
    for namespace in [&router, &server] {
        namespace.sysctl("net/ipv4/ip_forward", "1")?;
        namespace.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    }
    router.ip(
        "addr add 172.16.1.1/24 dev node\naddr add 10.9.0.1/24 dev server\nroute add 192.0.2.0/24 via 10.9.0.2\n\
         -6 addr add fd00:16::1/64 dev node nodad\n-6 addr add fd00:9::1/64 dev server nodad\n\
         -6 route add 2001:db8:c0::/64 via fd00:9::2",
    )?;
    server.ip("addr add 10.9.0.2/24 dev b\naddr add 192.0.2.10/32 dev lo\nlink set dev lo up\n\
         route add default via 10.9.0.1 src 192.0.2.10\n-6 addr add fd00:9::2/64 dev b nodad\n\
         -6 addr add 2001:db8:c0::10/128 dev lo nodad\n-6 route add default via fd00:9::1 src 2001:db8:c0::10")?;
    Ok((switch, router, server))
}

/// A node with its pod; the ways to other pods are not there yet.
pub(super) fn node(net: &Net, switch: &Namespace, number: usize) -> Result<ClusterNode> {
    let (namespace, pod) = (net.namespace(&format!("n{number}"))?, net.namespace(&format!("p{number}"))?);
    for (device, bridge) in [("eth0", "lan"), ("eth1", "out")] {
        let port = format!("n{number}{}", &bridge[..1]);
        switch::plug(switch, (&port, bridge), (&namespace, device))?;
    }
    for key in ["ipv4/ip_forward", "ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter", "ipv6/conf/all/forwarding"]
    {
        namespace.sysctl(&format!("net/{key}"), "1")?;
    }
    namespace.wire("pod", (&pod, "eth0"))?;
    namespace.ip(&format!(
        "addr add 10.10.0.{number}/24 dev eth0\naddr add 172.16.1.1{number}/24 dev eth1\nlink set dev lo up\n\
         addr add 10.244.{number}.1/24 dev pod\n-6 addr add fd00:10::{number}/64 dev eth0 nodad\n\
         -6 addr add fd00:16::1{number}/64 dev eth1 nodad\n-6 addr add fd00:244:{number}::1/64 dev pod nodad"
    ))?;
    pod.ip(&format!(
        "addr add 10.244.{number}.2/24 dev eth0\nroute add default via 10.244.{number}.1\n\
         -6 addr add fd00:244:{number}::2/64 dev eth0 nodad\n-6 route add default via fd00:244:{number}::1"
    ))?;
    Ok(ClusterNode { number, namespace, pod, helper: None })
}
