//! The table.

use std::time::Duration;

use sortie_testkit::Transport;

use crate::figures::Figure;
use crate::plot::{Axis, Line, Plot, Scale};
use crate::report::Report;
use crate::statistics::{Summary, f64_of};
use crate::table::Table;
use crate::takeover::harm::Harm;
use crate::takeover::run::Outcome;

/// Longest silence that is aimed at when an owner goes unplanned, milliseconds.
const SILENCE_AIM: f64 = 500.0;

/// All runs of one kind.
pub(crate) struct Row {
    pub(crate) harm: Harm,
    outcomes: Vec<Outcome>,
}

impl Row {
    pub(crate) fn new(harm: Harm) -> Self {
        Self { harm, outcomes: Vec::new() }
    }

    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    fn silence(&self, transport: Transport) -> String {
        spread(&self.silences(transport))
    }

    fn silences(&self, transport: Transport) -> Vec<Duration> {
        let all = self.outcomes.iter().flat_map(|outcome| &outcome.silences);
        all.filter(|(t, _)| *t == transport).map(|(_, silence)| *silence).collect()
    }

    /// The aims of what is not planned: 500 ms, nothing broken; nothing ever leaks.
    fn figures(&self) -> Vec<Figure> {
        let name = self.harm.name();
        let mut figures = vec![Figure::never(format!("{name}: packets leaked"), self.leaked(), "packets")];
        figures.push(Figure::never(format!("{name}: TCP connections broken"), self.broken(), "connections"));
        if self.harm != Harm::Planned {
            let Summary { median, .. } = Summary::of(&self.silences(Transport::Udp));
            figures.push(Figure::new(format!("{name}: silence of UDP, median"), median, "ms", SILENCE_AIM));
            let longest = self.silences(Transport::Udp).into_iter().max().unwrap_or_default();
            let longest = longest.as_secs_f64() * 1000.0;
            figures.push(Figure::new(format!("{name}: silence of UDP, longest"), longest, "ms", SILENCE_AIM));
        }
        figures
    }

    fn broken(&self) -> usize {
        self.outcomes.iter().filter_map(|outcome| usize::try_from(outcome.broken).ok()).sum()
    }

    fn leaked(&self) -> usize {
        self.outcomes.iter().map(|outcome| outcome.leaked).sum()
    }

    fn overlaps(&self) -> usize {
        self.outcomes.iter().map(|outcome| outcome.overlaps).sum()
    }

    fn deafness(&self) -> String {
        let series: Vec<Duration> = self.outcomes.iter().flat_map(|outcome| outcome.pushes.clone()).collect();
        spread(&series)
    }
}

/// `median (longest)` in milliseconds.
fn spread(series: &[Duration]) -> String {
    let longest = series.iter().max().map_or(0, Duration::as_millis);
    format!("{:.0} ({longest})", Summary::of(series).median)
}

/// The table, and the aims.
pub(crate) fn report(rows: &[Row]) -> Report {
    let head = ["what happens to the owner", "UDP, ms", "TCP, ms", "SCTP, ms", "server push, ms"];
    let mut table = Table::new(head.into_iter().chain(["TCP connections broken", "leaked", "two senders"]));
    for row in rows {
        let [udp, tcp, sctp] = [Transport::Udp, Transport::Tcp, Transport::Sctp].map(|t| row.silence(t));
        let counts = [row.broken(), row.leaked(), row.overlaps()].map(|count| count.to_string());
        table.row([row.harm.name().to_owned(), udp, tcp, sctp, row.deafness()].into_iter().chain(counts));
    }
    Report { tables: vec![table], figures: rows.iter().flat_map(Row::figures).collect(), plots: vec![plot(rows)] }
}

/// How many of the flows were silent for at most how long.
fn plot(rows: &[Row]) -> Plot {
    Plot {
        name: "silence",
        title: "UDP flows by their longest silence".to_owned(),
        x: Axis { label: "milliseconds", scale: Scale::Linear },
        y: Axis { label: "share of flows, per cent", scale: Scale::Linear },
        lines: rows.iter().map(|row| Line { name: row.harm.name().to_owned(), points: shares(row) }).collect(),
    }
}

fn shares(row: &Row) -> Vec<(f64, f64)> {
    let mut silences = row.silences(Transport::Udp);
    silences.sort();
    let share = |place: usize| 100.0 * f64_of(place + 1) / f64_of(silences.len());
    silences.iter().enumerate().map(|(place, silence)| (silence.as_secs_f64() * 1000.0, share(place))).collect()
}
