//! A cluster that is struck and mended again and again.
//!
//! Guarantees: when a strike begins all helpers run and agree on an owner, and every pod of another node was answered
//! with the address. Leaves out: what is measured meanwhile.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result};
use sortie_testkit::cluster::{Cluster, SERVER, manifests};
use sortie_testkit::{Door, Echo, Flow, Stream};

use crate::takeover::harm::{self, Harm};
use crate::takeover::inbound;

const NODES: usize = 3;
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 200);
/// Longest time to agree.
pub(crate) const AGREE: Duration = Duration::from_secs(20);
/// Time between two requests of a flow.
pub(crate) const PACE: Duration = Duration::from_millis(2);
/// Answers of a flow until its pod counts as served.
const SERVED: u64 = 20;
/// Ports of the Service beside those of the manifests: numbered datagrams of a pod, and where clients call.
const MORE: &str = "ports: [{name: n, protocol: UDP, port: 5064}, {name: i, protocol: UDP, port: 5070}, \
    {name: j, protocol: TCP, port: 5070}, {name: k, protocol: SCTP, port: 5070}, ";

/// Whether the next owner knows the connections of the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replication {
    On,
    Off,
}

impl Replication {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::On => &[],
            Self::Off => &["--replication", "off"],
        }
    }
}

/// The cluster, its owner and the pods that clients call.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) replication: Replication,
    pub(crate) owner: usize,
    /// Runs so far.
    pub(crate) runs: usize,
    _pods: Vec<Echo>,
}

impl Stage {
    pub(crate) fn new(replication: Replication) -> Result<Self> {
        let mut cluster = Cluster::new(NODES)?;
        cluster.manifest("all.yaml", &manifests(NODES).replacen("ports: [", MORE, 1))?;
        harm::halves(&cluster)?;
        inbound::translate(&cluster)?;
        let pods = cluster.nodes.iter().map(|node| {
            let door = Door { label: format!("p{}", node.number), device: None, at: inbound::CALLED.into() };
            Echo::start(&node.pod, &[door])
        });
        let pods = pods.collect::<Result<Vec<_>>>()?;
        (1..=NODES).try_for_each(|number| cluster.start_with(number, replication.flags()))?;
        let mut stage = Self { cluster, replication, owner: 0, runs: 0, _pods: pods };
        stage.settle()?;
        Ok(stage)
    }

    /// All but this node.
    pub(crate) fn without(number: usize) -> Vec<usize> {
        (1..=NODES).filter(|other| *other != number).collect()
    }

    /// Ends a harm and waits until everything is as before it, with another owner perhaps.
    pub(crate) fn mend(&mut self, harm: Harm, node: usize) -> Result<()> {
        harm.mend(&mut self.cluster, node, self.replication.flags())?;
        self.settle()
    }

    /// Who owns at present, when all agree.
    pub(crate) fn owner(&self) -> Result<usize> {
        self.cluster.await_owner(&(1..=NODES).collect::<Vec<_>>(), AGREE)
    }

    /// Waits until all agree and every pod is served.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.runs += 1;
        self.owner = self.owner()?;
        let first = [Flow::udp(5060, SERVER.into())];
        let pods = self.cluster.nodes.iter().map(|node| Stream::start(&node.pod, &first, PACE));
        let pods = pods.collect::<Result<Vec<_>>>()?;
        pods.iter().try_for_each(|pod| pod.answered(SERVED, AGREE)).with_context(|| self.cluster.logs())
    }
}

/// The Service's address.
pub(crate) fn address() -> IpAddr {
    ADDRESS.into()
}
