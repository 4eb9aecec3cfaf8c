//! The table.

use std::time::Duration;

use crate::cluster_takeover::Row;
use crate::cluster_takeover::turn::Outcome;
use crate::report::Report;
use crate::statistics::Summary;
use crate::table::Table;

/// The table. The aim for an owner that dies is that of the section on takeover.
pub(super) fn report(rows: &[Row], other: &str) -> Report {
    let head = [
        "who",
        "runs",
        "no owner after the start",
        "new flows of pods, ms",
        "callers, ms",
        "running flows of pods, ms",
        "with another source",
    ];
    let mut table = Table::new(head).caption(other);
    for Row { subject, outcomes, idle, .. } in rows {
        let spread =
            |silence: fn(&Outcome) -> Option<Duration>| spread(&outcomes.iter().map(silence).collect::<Vec<_>>());
        let astray: usize = outcomes.iter().map(|outcome| outcome.astray).sum();
        let silences = [spread(|one| one.new), spread(|one| one.callers), spread(|one| one.running)];
        let first = [subject.name().to_owned(), outcomes.len().to_string(), idle.to_string()];
        table.row(first.into_iter().chain(silences).chain([astray.to_string()]));
    }
    Report { tables: vec![table], ..Report::default() }
}

/// Median and longest.
fn spread(silences: &[Option<Duration>]) -> String {
    let back: Vec<Duration> = silences.iter().flatten().copied().collect();
    let lost = silences.len() - back.len();
    let Some(longest) = back.iter().max() else {
        return if lost == 0 { "-".to_owned() } else { format!("{lost} not again") };
    };
    let text = format!("{:.0} ({})", Summary::of(&back).median, longest.as_millis());
    if lost == 0 { text } else { format!("{text}, {lost} not again") }
}
