//! The address lies in no network of the nodes; routers ask for it on the link.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use sortie_testkit::cluster::manifests;
use sortie_testkit::{Flow, Stream};

use super::stage::{AGREE, COUNT, PACE, everybody, flows, left, others, running};

const VIPS: [&str; 2] = ["203.0.113.7", "2001:db8:f::7"];

/// The usual ones with a pool outside.
fn outside() -> String {
    manifests(COUNT)
        .replace("172.16.1.200-172.16.1.209", "203.0.113.0/24")
        .replace("fd00:16::200-fd00:16::209", "2001:db8:f::/64")
        .replace("172.16.1.200,fd00:16::200", &VIPS.join(","))
}

#[test]
fn an_address_outside_every_network_of_the_nodes_is_served_and_taken_over() -> Result<()> {
    let (cluster, capture) = running(&outside())?;
    cluster.router.ip("route add 203.0.113.0/24 dev node\n-6 route add 2001:db8:f::/64 dev node")?;
    let owner = cluster.await_owner(&everybody(&cluster), AGREE)?;
    let start = |number: &usize| Stream::start(&cluster.nodes[number - 1].pod, &flows(), PACE);
    let streams = others(owner).iter().map(start).collect::<Result<Vec<_>>>()?;
    for stream in &streams {
        stream.answered(20, AGREE).with_context(|| cluster.logs())?;
    }
    let expected = |node: usize| VIPS.map(|vip| (format!("n{node}o"), vip.parse().unwrap())).into_iter().collect();
    assert_eq!(left(&capture)?, expected(owner));
    capture.clear()?;
    cluster.signal(owner, Signal::SIGKILL)?;
    let next = cluster.await_owner(&others(owner), AGREE)?;
    for stream in &streams {
        stream.answered(40, AGREE).with_context(|| cluster.logs())?;
    }
    capture.clear()?;
    for stream in &streams {
        stream.answered(20, AGREE)?;
    }
    assert_eq!(left(&capture)?, expected(next));
    Ok(())
}

#[test]
fn pods_with_one_source_port_and_one_far_end_are_told_apart() -> Result<()> {
    let (cluster, _capture) = running(&manifests(COUNT))?;
    cluster.await_owner(&everybody(&cluster), AGREE)?;
    let udp = [Flow::udp(5060, sortie_testkit::cluster::SERVER.into())];
    let start = |node: &sortie_testkit::cluster::ClusterNode| Stream::start(&node.pod, &udp, PACE);
    let streams = cluster.nodes.iter().map(start).collect::<Result<Vec<_>>>()?;
    for stream in &streams {
        stream.answered(20, AGREE).with_context(|| cluster.logs())?;
    }
    // What the far end saw last of each; the first one may have begun before the others were there.
    let ends = streams.into_iter().flat_map(|stream| stream.stop().into_values());
    let ports: std::collections::BTreeSet<u16> =
        ends.flat_map(|tally| tally.seen.into_keys().map(|seen| seen.source.port())).collect();
    assert_eq!(ports.len(), COUNT, "{ports:?}");
    Ok(())
}
