//! What the wire says: who has an address, and whether a next hop is there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sortie_core::model::DeviceName;
use sortie_core::ownership::{NodeNumber, Reach, Sighting};
use sortie_kernel::announce::{Mac, ProbeOutcome, Prober};
use tokio::task::JoinSet;

/// Time for a probe of an address; a claim waits for it.
const WIRE: Duration = Duration::from_millis(100);
/// Time for a next hop to answer.
const HOP: Duration = Duration::from_millis(60);

/// Which peer a link address belongs to.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(BTreeMap<Mac, NodeNumber>);

impl Known {
    /// These are all of a node's link addresses now.
    pub(super) fn learn(&mut self, node: NodeNumber, links: impl Iterator<Item = Mac>) {
        self.0.retain(|_, owner| *owner != node);
        self.0.extend(links.map(|mac| (mac, node)));
    }
}

/// Probes all places at once. A stranger counts more than a peer, and an answer more than a question.
pub(super) async fn wire(prober: &Arc<Prober>, places: Vec<(DeviceName, IpAddr)>, known: &Known) -> Sighting {
    let outcomes = all(prober, places, WIRE).await;
    let answered: BTreeSet<Mac> =
        outcomes.iter().filter_map(|o| if let ProbeOutcome::Answered(m) = o { Some(*m) } else { None }).collect();
    let asked = outcomes.iter().filter_map(|o| if let ProbeOutcome::Asked(mac) = o { known.0.get(mac) } else { None });
    if answered.iter().any(|mac| !known.0.contains_key(mac)) {
        return Sighting::Stranger;
    }
    let owner = answered.iter().find_map(|mac| known.0.get(mac));
    match (owner, asked.max()) {
        (Some(owner), _) => Sighting::Owner(*owner),
        (None, Some(prober)) => Sighting::Prober(*prober),
        (None, None) => Sighting::Nobody,
    }
}

/// Whether any next hop answers; where there is none to ask, the device's state must do.
pub(super) async fn hop(prober: &Arc<Prober>, hops: Vec<(DeviceName, IpAddr)>) -> Reach {
    if hops.is_empty() {
        return Reach::Reached;
    }
    let outcomes = all(prober, hops, HOP).await;
    let answers = outcomes.iter().any(|outcome| matches!(outcome, ProbeOutcome::Answered(_)));
    if answers { Reach::Reached } else { Reach::Lost }
}

/// What cannot be probed is left out: its device is gone or down.
async fn all(prober: &Arc<Prober>, places: Vec<(DeviceName, IpAddr)>, time: Duration) -> Vec<ProbeOutcome> {
    let mut probes = JoinSet::new();
    for (device, address) in places {
        let prober = Arc::clone(prober);
        probes.spawn(async move { prober.probe(&device, address, time).await });
    }
    probes.join_all().await.into_iter().filter_map(Result::ok).collect()
}
