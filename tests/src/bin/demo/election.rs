//! Second act: three nodes could own the address of a Service, pods of all of them leave with it, and the owner's helper
//! is killed.
//!
//! Leaves out: pods of the killed helper's node, which are cut off until it is back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use sortie_testkit::cluster::{Cluster, SERVER, manifests, overlaps};
use sortie_testkit::{Capture, Flow, Stream, Tally};

use crate::say;

const NODES: usize = 3;
const ADDRESS: &str = "172.16.1.200";
const PACE: Duration = Duration::from_millis(5);
const AGREE: Duration = Duration::from_secs(30);
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
    let flows = [Flow::udp(5060, SERVER.into()), Flow::tcp(5060, SERVER.into())];
    let streams =
        cluster.nodes.iter().map(|node| Stream::start(&node.pod, &flows, PACE)).collect::<Result<Vec<_>>>()?;
    let everybody: Vec<usize> = (1..=NODES).collect();
    let first = cluster.await_owner(&everybody, AGREE)?;
    for stream in &streams {
        stream.answered(100, AGREE)?;
    }
    say(&format!("   n{first} owns the address; pods of all nodes leave by it"));
    let before: Vec<_> = streams.iter().map(Stream::tallies).collect();
    cluster.signal(first, Signal::SIGKILL)?;
    let others: Vec<usize> = everybody.into_iter().filter(|number| *number != first).collect();
    let second = cluster.await_owner(&others, AGREE)?;
    for number in &others {
        streams[number - 1].answered(100, AGREE)?;
    }
    say(&format!("   the helper of n{first} is killed; pods of the other nodes leave by n{second}"));
    let after: Vec<_> = streams.into_iter().map(Stream::stop).collect();
    let mut outcome = judge(&capture, (first, second))?;
    for number in others {
        outcome.wrong += tell(number, &before[number - 1], &after[number - 1]);
    }
    Ok(outcome)
}

type Tallies = BTreeMap<Flow, Tally>;

/// Prints what became of a pod's flows since `before`; how many sources were wrong or connections broken.
fn tell(number: usize, before: &Tallies, after: &Tallies) -> usize {
    let mut wrong = 0;
    for (flow, tally) in after {
        let then = before.get(flow);
        let (sent, answered) = (since(then, tally, |t| t.sent), since(then, tally, |t| t.answered));
        let sources: BTreeSet<String> = tally.seen.keys().map(|seen| seen.source.ip().to_string()).collect();
        let sources = sources.into_iter().collect::<Vec<_>>().join(" ");
        let (lost, silence) = (sent.saturating_sub(answered), tally.longest_silence.as_millis());
        say(&format!(
            "   pod of n{number}, {flow}: sent {sent}, lost {lost}, longest silence {silence} ms, source {sources}"
        ));
        wrong += usize::from(sources != ADDRESS) + usize::from(tally.connections > 1);
    }
    wrong
}

fn since(then: Option<&Tally>, now: &Tally, count: fn(&Tally) -> u64) -> u64 {
    count(now) - then.map_or(0, count)
}

fn judge(capture: &Capture, (first, second): (usize, usize)) -> Result<Outcome> {
    let vip: IpAddr = ADDRESS.parse()?;
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
