//! Second act: three nodes could own the address of a Service, and the owner's helper is killed.
//!
//! Leaves out: pods of other nodes than the owner's, which are cut off from the address.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use sortie_testkit::cluster::{Cluster, SERVER, manifests, overlaps};
use sortie_testkit::{Capture, Flow, Stream};

use crate::say;

const NODES: usize = 3;
const PACE: Duration = Duration::from_millis(5);
const AGREE: Duration = Duration::from_secs(10);
/// Aim for the time without an owner.
const AIM: Duration = Duration::from_millis(500);

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Packets that left with another address, or from two nodes at one time.
    pub(crate) leaked: u64,
    /// Things that were not as expected.
    pub(crate) wrong: usize,
}

/// Plays it.
pub(crate) fn perform() -> Result<Outcome> {
    say("\n7. three nodes, one address: a Service with 172.16.1.200, a pod of it on each node");
    let mut cluster = Cluster::new(NODES)?;
    cluster.manifest("all.yaml", &manifests(NODES))?;
    for number in 1..=NODES {
        cluster.start(number)?;
    }
    let capture = Capture::start(&cluster.switch)?;
    let flow = Flow::udp(5060, SERVER.into());
    let streams =
        cluster.nodes.iter().map(|node| Stream::start(&node.pod, &[flow], PACE)).collect::<Result<Vec<_>>>()?;
    let everybody: Vec<usize> = (1..=NODES).collect();
    let first = cluster.await_owner(&everybody, AGREE)?;
    streams[first - 1].answered(50, AGREE)?;
    say(&format!("   n{first} owns the address; its pod is answered"));
    cluster.signal(first, Signal::SIGKILL)?;
    let others: Vec<usize> = everybody.into_iter().filter(|number| *number != first).collect();
    let second = cluster.await_owner(&others, AGREE)?;
    streams[second - 1].answered(50, AGREE)?;
    say(&format!("   the helper of n{first} is killed; n{second} owns the address now; its pod is answered"));
    for (number, stream) in (1..).zip(streams) {
        for (seen, count) in stream.stop().into_values().flat_map(|tally| tally.seen) {
            say(&format!("   the far end saw {count} x {} from the pod of n{number}", seen.source.ip()));
        }
    }
    judge(&capture, (first, second))
}

fn judge(capture: &Capture, (first, second): (usize, usize)) -> Result<Outcome> {
    let vip: IpAddr = "172.16.1.200".parse()?;
    let packets = capture.packets()?;
    let requests = || packets.iter().filter(|c| c.is_incoming && c.packet.destination_port == SERVER.1);
    let by = |number: usize| -> Vec<Instant> {
        let port = format!("n{number}o");
        requests().filter(|c| c.device == port && c.packet.source == vip).map(|c| c.at).collect()
    };
    let (old, new) = (by(first), by(second));
    let end = *old.last().context("the first owner sent nothing")?;
    let start = *new.iter().find(|at| **at > end).context("the second owner sent nothing")?;
    let strays = requests().filter(|c| c.packet.source != vip).count();
    let overlap = overlaps(&packets, vip);
    let silence = start.saturating_duration_since(end);
    say(&format!("   nobody sent with the address for {} ms (aim {})", silence.as_millis(), AIM.as_millis()));
    Ok(Outcome { leaked: u64::try_from(strays + overlap)?, wrong: usize::from(silence > 2 * AIM) })
}
