//! Clients outside whose pod stands beside an owner that goes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sortie_testkit::cluster::{Cluster, manifests};
use sortie_testkit::{Echo, Flow, Stream, Tally, Transport, until};

use super::inbound::translate_local;
use super::stage::{AGREE, PACE, everybody, others, running, serve, vips};

/// Every node leads clients to its own pod; those of this stream have called the owner's.
struct Calls {
    cluster: Cluster,
    owner: usize,
    stream: Stream,
    _echoes: Vec<Echo>,
}

impl Calls {
    fn start() -> Result<Self> {
        let (cluster, _) = running(&manifests(super::COUNT))?;
        let owner = cluster.await_owner(&everybody(&cluster), AGREE)?;
        let targets = vips().map(|vip| format!("{} daddr {vip}", if vip.is_ipv4() { "ip" } else { "ip6" }));
        let mut echoes = Vec::new();
        for node in everybody(&cluster) {
            translate_local(&cluster.nodes[node - 1].namespace, (&targets[0], &targets[1]), node)?;
            echoes.push(serve(&cluster, node)?);
        }
        let calls = |vip| {
            [
                Flow::udp(5060, (vip, 5060).into()),
                Flow::tcp(5061, (vip, 5060).into()),
                Flow::sctp(2905, (vip, 2905).into()),
            ]
        };
        let flows: Vec<Flow> = vips().into_iter().flat_map(calls).collect();
        let stream = Stream::start(&cluster.server, &flows, PACE)?;
        stream.answered(100, AGREE).with_context(|| cluster.logs())?;
        let calls = Self { cluster, owner, stream, _echoes: echoes };
        calls.answered_by(owner)?;
        Ok(calls)
    }

    /// Every flow is answered on by this pod, over the connections it has.
    fn answered_by(&self, pod: usize) -> Result<()> {
        let door = format!("p{pod}");
        let count = |(flow, tally): (&Flow, &Tally)| (*flow, tally.answered_by(&door));
        let before = self.stream.tallies().iter().map(count).collect::<BTreeMap<_, _>>();
        until(AGREE, "answers by the pod on every flow", || {
            self.stream.tallies().iter().map(count).all(|(flow, now)| now >= before.get(&flow).unwrap_or(&0) + 20)
        })
        .with_context(|| format!("by {door}: {:#?}\n{}", self.stream.tallies(), self.cluster.logs()))
    }

    fn stays(mut self, end: impl Fn(&mut Cluster, usize) -> Result<()>) -> Result<()> {
        end(&mut self.cluster, self.owner)?;
        self.cluster.await_owner(&others(self.owner), AGREE)?;
        self.answered_by(self.owner)?;
        for (flow, tally) in self.stream.stop() {
            let doors: Vec<_> = tally.seen.keys().map(|seen| &seen.door).collect();
            ensure!(doors.len() == 1 && tally.connections <= 1, "{flow}: {tally:#?}");
        }
        Ok(())
    }
}

#[test]
fn a_client_stays_with_a_pod_beside_an_owner_that_ended_in_order() -> Result<()> {
    Calls::start()?.stays(Cluster::stop)
}

#[test]
fn a_client_stays_with_a_pod_beside_an_owner_that_lost_its_device() -> Result<()> {
    Calls::start()?.stays(|cluster, owner| cluster.nodes[owner - 1].namespace.ip("link set dev eth1 down"))
}

/// Nothing comes out of the tunnel where the owner was; a datagram needs no connection, and another pod may answer it.
#[test]
fn a_client_without_a_connection_is_answered_by_another_pod_when_nobody_hears_the_last_owner() -> Result<()> {
    let calls = Calls::start()?;
    calls.cluster.signal(calls.owner, Signal::SIGKILL)?;
    let next = calls.cluster.await_owner(&others(calls.owner), AGREE)?;
    let door = format!("p{next}");
    until(AGREE, "answers by the next owner's pod", || {
        let tallies = calls.stream.tallies();
        let mut datagrams = tallies.iter().filter(|(flow, _)| flow.transport == Transport::Udp);
        datagrams.all(|(_, tally)| tally.seen.iter().any(|(seen, count)| seen.door == door && *count > 20))
    })
    .with_context(|| format!("{:#?}\n{}", calls.stream.tallies(), calls.cluster.logs()))
}
