//! How fast the cluster notices.
//!
//! Guarantees: what a node sends does not grow with the cluster, only how long it doubts a silent peer does, with the
//! logarithm. Leaves out: the lease of an address, for which close peers hear each other directly.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Config, PeriodicParams};

/// Longest membership message, in bytes: with all headers it passes a link of 1280 bytes.
pub(crate) const SWIM_MAX: usize = 1100;

/// Periods of the traffic among helpers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Time between two probes of one node.
    pub probe_period: Duration,
    /// How long a probed node may take to answer, before others are asked to probe it.
    pub answer_within: Duration,
    /// How long up to eight nodes doubt a silent one before it is down; each doubling adds a third.
    pub doubt: Duration,
    /// Time between two heartbeats to each close peer.
    pub heartbeat: Duration,
    /// Time between two attempts to reach a peer that is not up.
    pub join: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            probe_period: Duration::from_millis(100),
            answer_within: Duration::from_millis(40),
            doubt: Duration::from_millis(80),
            heartbeat: Duration::from_millis(75),
            join: Duration::from_millis(250),
        }
    }
}

impl Tuning {
    /// What foca is told for a cluster of `nodes`.
    pub(crate) fn config(&self, nodes: usize) -> Config {
        let magnitude = nodes.max(8).ilog2();
        Config {
            probe_period: self.probe_period,
            probe_rtt: self.answer_within,
            num_indirect_probes: NonZeroUsize::MIN.saturating_add(2),
            max_transmissions: NonZeroU8::MIN.saturating_add(u8::try_from(magnitude * 3).unwrap_or(u8::MAX)),
            suspect_to_down_after: self.doubt * magnitude / 3,
            remove_down_after: Some(Duration::from_secs(60)),
            max_packet_size: NonZeroUsize::MIN.saturating_add(SWIM_MAX - 1),
            notify_down_members: true,
            periodic_announce: None,
            periodic_announce_to_down_members: None,
            periodic_gossip: Some(PeriodicParams {
                frequency: self.probe_period / 2,
                num_members: NonZeroUsize::MIN.saturating_add(2),
            }),
        }
    }
}
