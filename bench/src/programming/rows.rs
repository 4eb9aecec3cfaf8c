//! The table.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cases::Case;
use super::stage::Outcome;
use crate::plot::{Axis, Line, Plot, Scale};
use crate::report::Report;
use crate::statistics::{Summary, f64_of};
use crate::table::Table;

/// Where it was changed, what, and for how many.
pub(crate) type Key = (&'static str, Case, usize);

/// All outcomes.
#[derive(Debug, Default)]
pub(crate) struct Series {
    outcomes: BTreeMap<Key, Vec<Outcome>>,
}

impl Series {
    pub(crate) fn add(&mut self, key: Key, outcome: Outcome) {
        self.outcomes.entry(key).or_default().push(outcome);
    }
}

/// The table and the plot.
pub(crate) fn report(series: &Series) -> Report {
    let columns = [
        "source",
        "change",
        "pods or VIPs",
        "ms",
        "quartiles ms",
        "objects",
        "bare load ms",
        "of bare load",
        "memory MB",
    ];
    let mut table = Table::new(columns);
    for (key, outcomes) in &series.outcomes {
        table.row(row(*key, outcomes));
    }
    Report { tables: vec![table], figures: Vec::new(), plots: vec![plot(series)] }
}

fn row((source, case, count): Key, outcomes: &[Outcome]) -> [String; 9] {
    let took = summary(outcomes, |outcome| Some(outcome.took));
    let peer = summary(outcomes, |outcome| outcome.peer).median;
    let largest = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).max().unwrap_or_default();
    let is_loaded = peer > 0.0;
    [
        source.to_owned(),
        case.name().to_owned(),
        count.to_string(),
        format!("{:.0}", took.median),
        format!("{:.0} to {:.0}", took.low, took.high),
        outcomes.last().map_or_else(String::new, |outcome| outcome.objects.to_string()),
        if is_loaded { format!("{peer:.0}") } else { String::new() },
        if is_loaded { format!("{:.1}", took.median / peer) } else { String::new() },
        format!("{} ({})", megabytes(largest(|o| o.resident)), megabytes(largest(|o| o.peak))),
    ]
}

fn summary(outcomes: &[Outcome], of: fn(&Outcome) -> Option<Duration>) -> Summary {
    Summary::of(&outcomes.iter().filter_map(of).collect::<Vec<_>>())
}

fn megabytes(kibibytes: u64) -> String {
    (kibibytes * 1024).div_ceil(1_000_000).to_string()
}

/// Time by the number of pods.
fn plot(series: &Series) -> Plot {
    let axis = |label| Axis { label, scale: Scale::Logarithmic };
    let kinds = [
        ("folder", Case::Route),
        ("folder", Case::Policy),
        ("API", Case::Policy),
        ("folder", Case::Resync),
        ("folder", Case::Boot),
        ("folder", Case::Restart),
    ];
    let line = |(source, case): (&'static str, Case)| {
        let own = series.outcomes.iter().filter(|((s, c, _), _)| (*s, *c) == (source, case));
        let points = own.map(|((_, _, count), all)| (f64_of(*count), summary(all, |o| Some(o.took)).median)).collect();
        Line { name: format!("{source}, {}", case.name()), points }
    };
    Plot {
        name: "pods",
        title: "From a change to the last kernel object".to_owned(),
        x: axis("pods"),
        y: axis("milliseconds"),
        lines: kinds.into_iter().map(line).collect(),
    }
}
