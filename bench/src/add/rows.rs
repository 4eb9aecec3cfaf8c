//! The table.

use std::time::Duration;

use crate::add::subjects::Subject;
use crate::figures::Figure;
use crate::report::Report;
use crate::statistics::Summary;
use crate::table::Table;

/// What is known of one plugin.
pub(crate) struct Row {
    subject: Subject,
    time: Summary,
    peak_kibibytes: u64,
}

impl Row {
    pub(crate) fn new(subject: Subject, series: &[Duration], peak_kibibytes: u64) -> Self {
        Self { subject, time: Summary::of(series), peak_kibibytes }
    }

    /// Largest share of `sbr`'s time that we aim at.
    fn aim(&self) -> Option<f64> {
        match self.subject {
            Subject::Selected => Some(0.25),
            Subject::Unselected => Some(0.20),
            Subject::First | Subject::Sbr | Subject::Portmap => None,
        }
    }
}

/// The table, and the aims.
pub(crate) fn report(rows: &[Row]) -> Report {
    let median = |subject| rows.iter().find(|row| row.subject == subject).map_or(0.0, |row| row.time.median);
    let (sbr, portmap) = (median(Subject::Sbr), median(Subject::Portmap));
    let mut table =
        Table::new(["ADD", "median ms", "quartiles ms", "of `sbr`", "aim", "of `portmap`", "peak memory MB"]);
    let mut figures = Vec::new();
    for row in rows {
        let Summary { low, median, high } = row.time;
        let share = median / sbr;
        let name = row.subject.name();
        figures.extend(row.aim().map(|aim| Figure::new(format!("ADD, {name}"), share, "of sbr", aim)));
        table.row([
            name.to_owned(),
            format!("{median:.2}"),
            format!("{low:.2} to {high:.2}"),
            format!("{share:.2}"),
            row.aim().map_or_else(String::new, |aim| format!("{aim:.2}")),
            format!("{:.3}", median / portmap),
            megabytes(row.peak_kibibytes),
        ]);
    }
    Report { tables: vec![table], figures, plots: Vec::new() }
}

fn megabytes(kibibytes: u64) -> String {
    format!("{}.{:02}", kibibytes * 1024 / 1_000_000, kibibytes * 1024 / 10_000 % 100)
}
