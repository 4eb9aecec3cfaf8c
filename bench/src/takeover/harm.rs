//! What may happen to an owner, and how it ends.

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
    /// Both links lose their carrier and the helper is killed: as at a power cut.
    Dead,
    /// The outer link loses its carrier.
    Unplugged,
    /// The link to the other nodes loses its carrier.
    Partitioned,
    /// Nothing passes on both networks between the owner and all others, and every carrier stays: as when a switch falls
    /// in two, or a node freezes with its links.
    Minority,
    /// The same with a node that does not own.
    Majority,
    /// SIGTERM of the helper.
    Planned,
}

/// Networks of the switch and the last letter of their ports.
const NETWORKS: [(&str, char); 2] = [("lan", 'l'), ("out", 'o')];

impl Harm {
    pub(crate) const ALL: [Self; 8] = [
        Self::Killed,
        Self::Hung,
        Self::Dead,
        Self::Unplugged,
        Self::Partitioned,
        Self::Minority,
        Self::Majority,
        Self::Planned,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Killed => "helper killed",
            Self::Hung => "helper hangs",
            Self::Dead => "node dead",
            Self::Unplugged => "outer link down",
            Self::Partitioned => "cut off from the other nodes",
            Self::Minority => "network split, owner alone",
            Self::Majority => "network split, owner with another",
            Self::Planned => "planned (SIGTERM)",
        }
    }

    /// Whom it hits: the owner, or one of the others.
    pub(crate) fn victim(self, owner: usize, others: &[usize]) -> usize {
        if self == Self::Majority { others[0] } else { owner }
    }

    /// Does it to a node.
    pub(crate) fn strike(self, cluster: &Cluster, node: usize) -> Result<()> {
        match self {
            Self::Killed => cluster.signal(node, Signal::SIGKILL),
            Self::Hung => cluster.signal(node, Signal::SIGSTOP),
            Self::Dead => {
                cluster.switch.ip(&format!("link set dev n{node}l down\nlink set dev n{node}o down"))?;
                cluster.signal(node, Signal::SIGKILL)
            }
            Self::Unplugged => cluster.switch.ip(&format!("link set dev n{node}o down")),
            Self::Partitioned => cluster.switch.ip(&format!("link set dev n{node}l down")),
            Self::Minority | Self::Majority => plug(cluster, node, "-half"),
            Self::Planned => cluster.signal(node, Signal::SIGTERM),
        }
    }

    /// Ends it: links are whole, the helper runs.
    pub(crate) fn mend(self, cluster: &mut Cluster, node: usize, flags: &[&str]) -> Result<()> {
        match self {
            Self::Killed => cluster.start_with(node, flags),
            Self::Hung => cluster.signal(node, Signal::SIGCONT),
            Self::Dead | Self::Unplugged | Self::Partitioned => {
                cluster.switch.ip(&format!("link set dev n{node}l up\nlink set dev n{node}o up"))?;
                if self == Self::Dead { cluster.start_with(node, flags) } else { Ok(()) }
            }
            Self::Minority | Self::Majority => plug(cluster, node, ""),
            Self::Planned => {
                cluster.stop(node)?;
                cluster.start_with(node, flags)
            }
        }
    }
}

/// The second half of each network, which nobody is plugged into yet.
pub(crate) fn halves(cluster: &Cluster) -> Result<()> {
    NETWORKS.iter().try_for_each(|(network, _)| {
        cluster.switch.ip(&format!("link add {network}-half type bridge\nlink set dev {network}-half up"))
    })
}

/// Plugs a node into the networks whose names end so.
fn plug(cluster: &Cluster, node: usize, half: &str) -> Result<()> {
    let lines = NETWORKS.map(|(network, port)| format!("link set dev n{node}{port} master {network}{half}"));
    cluster.switch.ip(&lines.join("\n"))
}
