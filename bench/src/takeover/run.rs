//! One owner goes away under traffic.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sortie_testkit::cluster::{SERVER, overlap};
use sortie_testkit::packet::{SCTP, TCP, UDP};
use sortie_testkit::{Capture, Captured, Flow, Stream, Tally, Transport};
use sortie_tests::push::Pushes;

use crate::takeover::harm::Harm;
use crate::takeover::inbound::Client;
use crate::takeover::numbers::{Count, Numbers};
use crate::takeover::stage::{AGREE, PACE, Replication, Stage, address};

/// Packets from the server for each pod before and after.
const HEARD: u32 = 20;
/// Answers of each flow before and after.
const ANSWERS: u64 = 50;
/// How long others wait, after pods are served again, for clients and, where connections are not replicated, for a server
/// to come through.
const GIVEN_UP: Duration = Duration::from_millis(400);
/// A flow that was silent for so long at the end is over.
const ENDED: Duration = Duration::from_millis(300);
/// Of a silence that has no end.
pub(crate) const FOR_GOOD: Duration = Duration::MAX;

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Flows of pods.
    pub(crate) outbound: Side,
    /// Flows of clients outside, in the order of [`Client::ALL`].
    pub(crate) inbound: [Side; 2],
    /// Longest time without a packet for pods that only listen.
    pub(crate) pushes: Vec<Duration>,
    /// Packets with another address than the Service's.
    pub(crate) leaked: usize,
    /// For how long two nodes sent with the address.
    pub(crate) overlap: Duration,
    /// Datagrams of pods of the successor's own node, and of other nodes; where a move is planned.
    pub(crate) counts: Vec<(Home, Count)>,
}

/// Flows in one direction.
#[derive(Debug, Default)]
pub(crate) struct Side {
    /// Longest time without an answer, of each flow by protocol.
    pub(crate) silences: Vec<(Transport, Duration)>,
    /// TCP connections that had to be opened again.
    pub(crate) broken: u64,
    /// Flows whose port changed on the way.
    pub(crate) changed: usize,
}

/// Where a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    Successor,
    Other,
}

impl Side {
    fn of(streams: Vec<Stream>) -> Self {
        let tallies: Vec<(Flow, Tally)> = streams.into_iter().flat_map(stopped).collect();
        Self {
            silences: tallies.iter().map(|(flow, tally)| (flow.transport, tally.longest_silence)).collect(),
            broken: tallies.iter().map(|(_, tally)| tally.connections.saturating_sub(1)).sum(),
            changed: tallies.iter().filter(|(_, tally)| tally.seen.len() > 1).count(),
        }
    }
}

/// A flow that is silent at the end is silent for good, and a connection then broken.
fn stopped(stream: Stream) -> Vec<(Flow, Tally)> {
    let mut tallies: Vec<(Flow, Tally)> = stream.stop().into_iter().collect();
    for (flow, tally) in &mut tallies {
        if tally.last.is_none_or(|last| last.elapsed() > ENDED) {
            tally.longest_silence = FOR_GOOD;
            tally.connections += u64::from(flow.transport == Transport::Tcp);
        }
    }
    tallies
}

/// Traffic of some nodes' pods, and of clients that call them.
struct Traffic {
    outbound: Vec<Stream>,
    inbound: [Vec<Stream>; 2],
    pushes: Pushes,
    numbers: Vec<(usize, Numbers)>,
}

impl Traffic {
    fn start(stage: &Stage, nodes: &[usize], harm: Harm) -> Result<Self> {
        let cluster = &stage.cluster;
        let flows = [Flow::udp(5060, SERVER.into()), Flow::tcp(5060, SERVER.into()), Flow::sctp(2905, SERVER.into())];
        let pod = |number: &usize| &cluster.nodes[number - 1].pod;
        let outbound = nodes.iter().map(|number| Stream::start(pod(number), &flows, PACE)).collect::<Result<_>>()?;
        let hidden = nodes
            .iter()
            .map(|number| Client::Hidden.call(cluster, (*number, stage.runs)))
            .collect::<Result<Vec<_>>>()?;
        let plain = Client::Plain.call(cluster, (stage.owner, stage.runs))?;
        let inbound = [hidden, vec![plain]];
        let counted: &[usize] = if harm == Harm::Planned { nodes } else { &[] };
        let numbers = counted.iter().map(|number| Ok((*number, Numbers::start(pod(number))?)));
        let numbers = numbers.collect::<Result<_>>()?;
        Ok(Self { outbound, inbound, pushes: Pushes::start(cluster, nodes, PACE)?, numbers })
    }

    /// Everybody is served.
    fn is_whole(&self) -> Result<()> {
        self.pushes.heard(HEARD, AGREE).context("what the server sends of its own accord")?;
        let mut all = self.outbound.iter().chain(self.inbound.iter().flatten());
        all.try_for_each(|stream| stream.answered(ANSWERS, AGREE))
    }

    /// All flows that pods begin are answered; others have some time to be.
    fn goes_on(&self, replication: Replication) -> Result<()> {
        self.outbound.iter().try_for_each(|stream| stream.answered(ANSWERS, AGREE))?;
        let end = Instant::now() + GIVEN_UP;
        for stream in self.inbound.iter().flatten() {
            let _ = stream.answered(ANSWERS, end.saturating_duration_since(Instant::now()));
        }
        match replication {
            Replication::On => self.pushes.heard(HEARD, AGREE).context("what the server sends of its own accord"),
            Replication::Off => Ok(()),
        }
    }
}

/// The owner is struck, watched and mended.
pub(crate) fn once(stage: &mut Stage, harm: Harm) -> Result<Outcome> {
    let capture = Capture::start(&stage.cluster.switch)?;
    let (traffic, victim) = served(stage, harm)?;
    capture.clear()?;
    harm.strike(&stage.cluster, victim)?;
    let next = stage.cluster.await_owner(&Stage::without(victim), AGREE)?;
    traffic.goes_on(stage.replication).with_context(|| stage.cluster.logs())?;
    let outcome = end(traffic, &capture, next)?;
    stage.mend(harm, victim)?;
    Ok(outcome)
}

/// Traffic of those who will stay, and who is to be struck. On a busy machine the address may move meanwhile.
fn served(stage: &mut Stage, harm: Harm) -> Result<(Traffic, usize)> {
    loop {
        let owner = stage.owner;
        let victim = harm.victim(owner, &Stage::without(owner));
        let watched: Vec<usize> = Stage::without(owner).into_iter().filter(|number| *number != victim).collect();
        let traffic = Traffic::start(stage, &watched, harm).with_context(|| stage.cluster.logs())?;
        traffic.is_whole().with_context(|| stage.cluster.logs())?;
        if stage.owner()? == owner {
            return Ok((traffic, victim));
        }
        drop(traffic);
        stage.settle()?;
    }
}

fn end(traffic: Traffic, capture: &Capture, next: usize) -> Result<Outcome> {
    let Traffic { outbound, inbound, pushes, numbers } = traffic;
    let home = |number| if number == next { Home::Successor } else { Home::Other };
    let counts = numbers.into_iter().map(|(number, numbers)| Ok((home(number), numbers.stop()?)));
    let counts = counts.collect::<Result<_>>()?;
    let pushes = pushes.stop()?;
    let (outbound, inbound) = (Side::of(outbound), inbound.map(Side::of));
    let packets = capture.packets()?;
    let leaked = packets.iter().filter(|captured| is_stray(captured)).count();
    Ok(Outcome { outbound, inbound, pushes, leaked, overlap: overlap(&packets, address()), counts })
}

/// A packet for the server with another address than the Service's.
fn is_stray(captured: &Captured) -> bool {
    let Captured { device, is_incoming, packet, .. } = captured;
    let is_of_a_flow = [TCP, UDP, SCTP].contains(&packet.protocol) && packet.destination == SERVER.0;
    *is_incoming && device != "bo" && is_of_a_flow && packet.source != address()
}
