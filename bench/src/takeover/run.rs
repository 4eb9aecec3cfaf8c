//! One owner goes away under traffic.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use sortie_testkit::cluster::{Cluster, SERVER, manifests, overlaps};
use sortie_testkit::{Capture, Flow, Stream, Tally, Transport};
use sortie_tests::push::Pushes;

use crate::takeover::harm::Harm;

const NODES: usize = 3;
const ADDRESS: &str = "172.16.1.200";
/// Time between two requests of a flow.
const PACE: Duration = Duration::from_millis(2);
/// Longest time to agree.
const AGREE: Duration = Duration::from_secs(20);
/// Packets from the server for each pod before and after.
const HEARD: u32 = 100;
/// Answers of each flow before and after.
const ANSWERS: u64 = 200;

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Longest time without an answer, of each flow by protocol.
    pub(crate) silences: Vec<(Transport, Duration)>,
    /// Longest time without a packet for pods that only listen.
    pub(crate) pushes: Vec<Duration>,
    /// TCP connections that had to be opened again.
    pub(crate) broken: u64,
    /// Packets with another address than the Service's.
    pub(crate) leaked: usize,
    /// Times at which two nodes sent with the address.
    pub(crate) overlaps: usize,
}

/// A new cluster, its owner struck, and the flows of the pods of the other nodes.
pub(crate) fn once(harm: Harm) -> Result<Outcome> {
    let mut cluster = Cluster::new(NODES)?;
    cluster.manifest("all.yaml", &manifests(NODES))?;
    (1..=NODES).try_for_each(|number| cluster.start(number))?;
    let everybody: Vec<usize> = (1..=NODES).collect();
    let owner = cluster.await_owner(&everybody, AGREE)?;
    let others: Vec<usize> = everybody.into_iter().filter(|number| *number != owner).collect();
    settled(&cluster, &others)?;
    let capture = Capture::start(&cluster.switch)?;
    let flows = [Flow::udp(5060, SERVER.into()), Flow::tcp(5060, SERVER.into()), Flow::sctp(2905, SERVER.into())];
    let start = |number: &usize| Stream::start(&cluster.nodes[number - 1].pod, &flows, PACE);
    let streams = others.iter().map(start).collect::<Result<Vec<_>>>()?;
    streams.iter().try_for_each(|stream| stream.answered(ANSWERS, AGREE)).with_context(|| cluster.logs())?;
    let pushes = Pushes::start(&cluster, &others, PACE).with_context(|| cluster.logs())?;
    pushes.heard(HEARD, AGREE)?;
    harm.strike(&mut cluster, owner)?;
    cluster.await_owner(&others, AGREE)?;
    pushes.heard(HEARD, AGREE).with_context(|| cluster.logs())?;
    let pushes = pushes.stop()?;
    streams.iter().try_for_each(|stream| stream.answered(ANSWERS, AGREE)).with_context(|| cluster.logs())?;
    let tallies: Vec<(Flow, Tally)> = streams.into_iter().flat_map(Stream::stop).collect();
    let packets = capture.packets()?;
    let address: IpAddr = ADDRESS.parse()?;
    let strays = packets.iter().filter(|c| {
        c.is_incoming && c.packet.destination_port == SERVER.1 && c.device != "bo" && c.packet.source != address
    });
    Ok(Outcome {
        silences: tallies.iter().map(|(flow, tally)| (flow.transport, tally.longest_silence)).collect(),
        pushes,
        broken: tallies.iter().map(|(_, tally)| tally.connections.saturating_sub(1)).sum(),
        leaked: strays.count(),
        overlaps: overlaps(&packets, address),
    })
}

/// Every pod has been answered once: what is measured afterwards is the takeover alone.
fn settled(cluster: &Cluster, nodes: &[usize]) -> Result<()> {
    let first = [Flow::udp(5060, SERVER.into())];
    for number in nodes {
        let stream = Stream::start(&cluster.nodes[number - 1].pod, &first, PACE)?;
        stream.answered(ANSWERS, AGREE).with_context(|| cluster.logs())?;
    }
    Ok(())
}
