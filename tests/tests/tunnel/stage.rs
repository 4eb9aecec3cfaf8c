//! A cluster that runs, and what leaves it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use sortie_testkit::cluster::{Cluster, PodNetwork, SERVER, SERVER6};
use sortie_testkit::{Capture, Captured, Door, Echo, Flow, Stream};

const VIPS: [&str; 2] = ["172.16.1.200", "fd00:16::200"];
pub(crate) const PACE: Duration = Duration::from_millis(5);
/// Longest time for a busy machine to agree.
pub(crate) const AGREE: Duration = Duration::from_secs(30);
/// All pods take part.
pub(crate) const COUNT: usize = 3;

pub(crate) fn vips() -> [IpAddr; 2] {
    VIPS.map(|vip| vip.parse().unwrap())
}

/// The server, in both families.
pub(crate) fn servers() -> [SocketAddr; 2] {
    [SERVER.into(), SERVER6.into()]
}

pub(crate) fn flows() -> Vec<Flow> {
    servers().into_iter().flat_map(|end| [Flow::udp(5060, end), Flow::tcp(5060, end), Flow::sctp(2905, end)]).collect()
}

/// Running helpers on all nodes, and a capture at the switch between them.
pub(crate) fn running(manifest: &str) -> Result<(Cluster, Capture)> {
    running_over(PodNetwork::Routed, manifest)
}

/// As [`running`], with another network of pods.
pub(crate) fn running_over(pods: PodNetwork, manifest: &str) -> Result<(Cluster, Capture)> {
    let mut cluster = Cluster::over(pods, COUNT)?;
    cluster.manifest("all.yaml", manifest)?;
    for number in 1..=COUNT {
        cluster.start(number)?;
    }
    let capture = Capture::start(&cluster.switch)?;
    Ok((cluster, capture))
}

pub(crate) fn streams(cluster: &Cluster) -> Result<Vec<Stream>> {
    cluster.nodes.iter().map(|node| Stream::start(&node.pod, &flows(), PACE)).collect()
}

/// The pod of a node answers on its Service's ports with its number.
pub(crate) fn serve(cluster: &Cluster, number: usize) -> Result<Echo> {
    let ports = ["0.0.0.0:5060", "[::]:5060", "0.0.0.0:2905", "[::]:2905"];
    let door = |at: &str| Door { label: format!("p{number}"), device: None, at: at.parse().unwrap() };
    Echo::start(&cluster.nodes[number - 1].pod, &ports.map(door))
}

/// Ports of the switch by which packets left the nodes for the server, and their sources.
pub(crate) fn left(capture: &Capture) -> Result<BTreeSet<(String, IpAddr)>> {
    let servers = servers().map(|server| server.ip());
    let outward = |c: &Captured| c.is_incoming && servers.contains(&c.packet.destination) && c.device.starts_with('n');
    Ok(capture.packets()?.into_iter().filter(outward).map(|c| (c.device, c.packet.source)).collect())
}

pub(crate) fn everybody(cluster: &Cluster) -> Vec<usize> {
    cluster.nodes.iter().map(|node| node.number).collect()
}

pub(crate) fn others(number: usize) -> Vec<usize> {
    (1..=COUNT).filter(|other| *other != number).collect()
}

/// A pod's address in the family of another one.
pub(crate) fn pod_address(number: usize, like: IpAddr) -> IpAddr {
    let text = if like.is_ipv4() { format!("10.244.{number}.2") } else { format!("fd00:244:{number}::2") };
    text.parse().unwrap()
}
