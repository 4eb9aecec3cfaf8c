//! The table.

use anyhow::Result;

use crate::report::Report;
use crate::statistics::Summary;
use crate::table::Table;

use super::measure::{RoundTrips, gigabits, round_trips};
use super::stage::{Offloads, Stage, Way};

/// All rounds of one way.
pub(super) struct Row {
    pub(super) way: Way,
    pub(super) offloads: Offloads,
    gigabits: Vec<f64>,
    trips: Vec<RoundTrips>,
}

impl Row {
    pub(super) fn new(way: Way, offloads: Offloads) -> Self {
        Self { way, offloads, gigabits: Vec::new(), trips: Vec::new() }
    }

    /// One more round.
    ///
    /// # Errors
    /// Those of the measurements.
    pub(super) fn measure(&mut self, stage: &Stage) -> Result<()> {
        self.gigabits.push(gigabits(stage, self.way)?);
        self.trips.push(round_trips(stage, self.way)?);
        Ok(())
    }

    fn medians(&self) -> Vec<f64> {
        self.trips.iter().map(|trips| trips.median).collect()
    }

    fn cells(&self, direct: &Self) -> [String; 7] {
        let offloads = if self.offloads == Offloads::On { "on" } else { "off" };
        let p99 = Summary::of_numbers(self.trips.iter().map(|trips| trips.p99)).median;
        [
            name(self.way).to_owned(),
            offloads.to_owned(),
            format!("{:.1}", Summary::of_numbers(self.gigabits.iter().copied()).median),
            ratio(&self.gigabits, &direct.gigabits),
            format!("{:.1}", Summary::of_numbers(self.medians().into_iter()).median),
            format!("{p99:.1}"),
            ratio(&self.medians(), &direct.medians()),
        ]
    }
}

/// Of values of the same rounds.
fn ratio(own: &[f64], direct: &[f64]) -> String {
    let Summary { low, median, high } = Summary::of_numbers(own.iter().zip(direct).map(|(own, direct)| own / direct));
    format!("{median:.2} ({low:.2} to {high:.2})")
}

fn name(way: Way) -> &'static str {
    match way {
        Way::Direct => "without Sortie",
        Way::Route => "route, own node",
        Way::Owner => "address of a Service, own node",
        Way::Tunnel => "address of a Service, other node",
    }
}

/// The table.
pub(super) fn report(rows: &[Row]) -> Report {
    let mut table = Table::new([
        "a pod leaves by",
        "offloads",
        "TCP, Gbit/s",
        "of without",
        "answer, median µs",
        "answer, p99 µs",
        "median, of without",
    ]);
    for row in rows {
        let direct = rows.iter().find(|other| other.way == Way::Direct && other.offloads == row.offloads);
        table.row(row.cells(direct.unwrap_or(row)));
    }
    Report { tables: vec![table], ..Report::default() }
}
