//! What may happen to an owner.

use anyhow::Result;
use nix::sys::signal::Signal;
use sortie_testkit::cluster::Cluster;

/// One kind of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// `kill -9` of the helper.
    Killed,
    /// SIGSTOP of the helper.
    Hung,
    /// Both links go down and the helper is killed: as at a power cut.
    Dead,
    /// The outer link goes down.
    Unplugged,
    /// The link to the other nodes goes down.
    Partitioned,
    /// SIGTERM of the helper.
    Planned,
}

impl Harm {
    pub(crate) const ALL: [Self; 6] =
        [Self::Killed, Self::Hung, Self::Dead, Self::Unplugged, Self::Partitioned, Self::Planned];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Killed => "helper killed",
            Self::Hung => "helper hangs",
            Self::Dead => "node dead",
            Self::Unplugged => "outer link down",
            Self::Partitioned => "cut off from the other nodes",
            Self::Planned => "planned (SIGTERM)",
        }
    }

    /// Does it to a node.
    pub(crate) fn strike(self, cluster: &mut Cluster, node: usize) -> Result<()> {
        let namespace = cluster.nodes[node - 1].namespace.clone();
        match self {
            Self::Killed => cluster.signal(node, Signal::SIGKILL),
            Self::Hung => cluster.signal(node, Signal::SIGSTOP),
            Self::Dead => {
                namespace.ip("link set dev eth0 down\nlink set dev eth1 down")?;
                cluster.signal(node, Signal::SIGKILL)
            }
            Self::Unplugged => namespace.ip("link set dev eth1 down"),
            Self::Partitioned => namespace.ip("link set dev eth0 down"),
            Self::Planned => cluster.signal(node, Signal::SIGTERM),
        }
    }
}
