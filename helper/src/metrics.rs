//! What the helper counts and measures, for Prometheus.
//!
//! Guarantees: every name and its help text are in `docs/metrics.md`; a figure that is not known is left out, not zero.
//! Leaves out: who asks ([`http`]) and where figures come from.

pub(crate) mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use sortie_core::cni::code;
use sortie_core::model::ObjectName;

use crate::node::NodeError;
use crate::replication::Replicated;

/// Upper bounds in seconds: of a reconcile, and of an ADD.
const RECONCILE: [f64; 9] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
const ADD: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// One label and its value.
type Label = [(&'static str, String); 1];
type Counts = Family<Label, Counter>;
type Times = Family<Label, Histogram, fn() -> Histogram>;

/// What is known at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) ready: bool,
    pub(crate) attachments: usize,
    pub(crate) adopted: usize,
    pub(crate) selected: usize,
    pub(crate) refused_objects: usize,
    /// Next hops of each route: usable and not.
    pub(crate) next_hops: BTreeMap<String, (usize, usize)>,
    /// Routes by which packets leave this node.
    pub(crate) open_routes: usize,
    /// By counter of the table.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Addresses of Services by whose they are: `here`, `elsewhere` or `nobody`.
    pub(crate) addresses: BTreeMap<&'static str, usize>,
    /// Objects of ours in the kernel, by kind.
    pub(crate) kernel: BTreeMap<&'static str, usize>,
    pub(crate) repairs: u64,
    /// Of nodes beside which this one decides; none while it decides alone.
    pub(crate) peers: Option<Peers>,
    pub(crate) replicated: Option<Replicated>,
    /// Whether the watch fails, by kind.
    pub(crate) watches: BTreeMap<String, bool>,
}

/// The other helpers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peers {
    pub(crate) known: usize,
    pub(crate) alive: usize,
    /// Messages that were refused, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
}

/// What happened since the start; clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    reconciles: Times,
    failures: Counts,
    verified: Gauge<f64, std::sync::atomic::AtomicU64>,
    adds: Times,
    changes: Counts,
    owned: BTreeSet<ObjectName>,
}

fn label(name: &'static str, value: &str) -> Label {
    [(name, value.to_owned())]
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        let tally = Self {
            reconciles: Times::new_with_constructor(|| Histogram::new(RECONCILE)),
            failures: Counts::default(),
            verified: Gauge::default(),
            adds: Times::new_with_constructor(|| Histogram::new(ADD)),
            changes: Counts::default(),
            owned: BTreeSet::new(),
        };
        // A counter that exists before it counts can be compared with itself.
        for outcome in ["verified", "failed"] {
            drop(tally.reconciles.get_or_create(&label("outcome", outcome)));
        }
        for kind in ["kernel", "store", "cluster_unknown", "unsettled"] {
            drop(tally.failures.get_or_create(&label("kind", kind)));
        }
        for outcome in ["added", "refused", "later"] {
            drop(tally.adds.get_or_create(&label("outcome", outcome)));
        }
        for change in ["gained", "lost"] {
            drop(tally.changes.get_or_create(&label("change", change)));
        }
        tally
    }

    /// A reconcile is over.
    pub(crate) fn reconciled(&self, time: Duration, outcome: &Result<(), NodeError>) {
        let word = if outcome.is_ok() { "verified" } else { "failed" };
        self.reconciles.get_or_create(&label("outcome", word)).observe(time.as_secs_f64());
        match outcome {
            Ok(()) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                self.verified.set(now.as_secs_f64());
            }
            Err(error) => drop(self.failures.get_or_create(&label("kind", kind(error))).inc()),
        }
    }

    /// An ADD was answered: with nothing, or with the code of a failure.
    pub(crate) fn added(&self, time: Duration, code: Option<u32>) {
        let outcome = match code {
            None => "added",
            Some(code::TRY_AGAIN) => "later",
            Some(_) => "refused",
        };
        self.adds.get_or_create(&label("outcome", outcome)).observe(time.as_secs_f64());
    }

    /// These Services' addresses are owned here now.
    pub(crate) fn owns(&mut self, owned: &BTreeSet<ObjectName>) {
        for (change, count) in
            [("gained", owned.difference(&self.owned).count()), ("lost", self.owned.difference(owned).count())]
        {
            self.changes.get_or_create(&label("change", change)).inc_by(count as u64);
        }
        if *owned != self.owned {
            self.owned.clone_from(owned);
        }
    }

    /// Everything in the text format of OpenMetrics.
    pub(crate) fn text(&self, figures: &Figures) -> String {
        let mut registry = Registry::with_prefix("sortie");
        self.register(&mut registry);
        node(&mut registry, figures);
        traffic(&mut registry, figures);
        others(&mut registry, figures);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }

    fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "reconcile_duration",
            "Time of a reconcile",
            Unit::Seconds,
            self.reconciles.clone(),
        );
        registry.register("reconcile_failures", "Reconciles that failed, by kind of failure", self.failures.clone());
        registry.register_with_unit(
            "last_reconcile_timestamp",
            "When the last reconcile was verified, since 1970; 0 before the first",
            Unit::Seconds,
            self.verified.clone(),
        );
        registry.register_with_unit(
            "add_duration",
            "Time from taking up an ADD to the answer",
            Unit::Seconds,
            self.adds.clone(),
        );
        registry.register(
            "ownership_changes",
            "Services whose addresses this node gained or lost",
            self.changes.clone(),
        );
    }
}

fn kind(error: &NodeError) -> &'static str {
    match error {
        NodeError::Kernel(_) => "kernel",
        NodeError::Store(_) => "store",
        NodeError::ClusterUnknown => "cluster_unknown",
        NodeError::Unsettled(_) => "unsettled",
    }
}

/// Gauges of one label.
fn gauges<K: ToString>(name: &'static str, values: impl IntoIterator<Item = (K, i64)>) -> Family<Label, Gauge> {
    let family = Family::<Label, Gauge>::default();
    for (value, number) in values {
        family.get_or_create(&label(name, &value.to_string())).set(number);
    }
    family
}

fn counters(name: &'static str, values: &BTreeMap<String, u64>) -> Counts {
    let family = Counts::default();
    for (value, number) in values {
        family.get_or_create(&label(name, value)).inc_by(*number);
    }
    family
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    registry.register(name, help, ConstGauge::new(value));
}

fn node(registry: &mut Registry, figures: &Figures) {
    let version = gauges("version", [(env!("CARGO_PKG_VERSION"), 1)]);
    registry.register("build", "1, with the version of the helper", version);
    gauge(registry, "ready", "1 if the last reconcile was verified", i64::from(figures.ready));
    gauge(registry, "attachments", "Interfaces of containers that are known", signed(figures.attachments));
    gauge(registry, "adopted_pods", "Pods older than the installation, without an ADD", signed(figures.adopted));
    gauge(registry, "selected_attachments", "Of both, those with selected flows", signed(figures.selected));
    gauge(registry, "refused_objects", "Objects whose present form is refused", signed(figures.refused_objects));
    let kernel = figures.kernel.iter().map(|(kind, count)| (*kind, signed(*count)));
    registry.register("programmed_objects", "Objects of ours in the kernel, by kind", gauges("kind", kernel));
    registry.register("repairs", "Reconciles that changed something", ConstCounter::new(figures.repairs));
}

fn traffic(registry: &mut Registry, figures: &Figures) {
    let hops = Family::<[(&'static str, String); 2], Gauge>::default();
    for (route, (usable, unusable)) in &figures.next_hops {
        for (state, count) in [("usable", usable), ("unusable", unusable)] {
            let labels = [("route", route.clone()), ("state", state.to_owned())];
            hops.get_or_create(&labels).set(signed(*count));
        }
    }
    registry.register("route_next_hops", "Next hops of a route on this node, by state", hops);
    gauge(registry, "open_routes", "Routes by which packets leave this node", signed(figures.open_routes));
    let help = "Packets dropped, by counter of the nft table; from 0 when the table was made anew";
    registry.register("dropped_packets", help, counters("reason", &figures.dropped));
    let addresses = figures.addresses.iter().map(|(owner, count)| (*owner, signed(*count)));
    registry.register("addresses", "Addresses of Services, by owner", gauges("owner", addresses));
}

fn others(registry: &mut Registry, figures: &Figures) {
    if let Some(peers) = &figures.peers {
        let states = [("known", signed(peers.known)), ("alive", signed(peers.alive))];
        registry.register("peers", "Other helpers, all that are known and those alive", gauges("state", states));
        let refused = counters("reason", &peers.refused);
        registry.register("peer_messages_refused", "Messages of other helpers that were refused", refused);
    }
    if let Some(replicated) = &figures.replicated {
        let entries = [("told", signed(replicated.told)), ("kept", signed(replicated.kept))];
        let help = "Connections of owned addresses told to others, and of others' kept";
        registry.register("replicated_connections", help, gauges("direction", entries));
        let help = "Connections that are too many to be told";
        gauge(registry, "replication_omitted", help, signed(replicated.omitted));
        if let Some(age) = replicated.age {
            let help = "Time since the most silent owner said something about its connections";
            let age = ConstGauge::new(age.as_secs_f64());
            registry.register_with_unit("replication_age", help, Unit::Seconds, age);
        }
    }
    let watches = figures.watches.iter().map(|(kind, fails)| (kind, i64::from(*fails)));
    registry.register("api_watch_failing", "1 while a kind cannot be read from the API", gauges("kind", watches));
}

#[cfg(test)]
mod tests;
