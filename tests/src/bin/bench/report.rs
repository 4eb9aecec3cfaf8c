//! The table.

use std::fmt::Write as _;
use std::time::Duration;

use sortie_tests::document::machine;
use sortie_tests::statistics::Summary;

use crate::subjects::Subject;

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

/// The table in Markdown, with the machine it was measured on.
pub(crate) fn table(rows: &[Row], rounds: usize) -> String {
    let median = |subject| rows.iter().find(|row| row.subject == subject).map_or(0.0, |row| row.time.median);
    let (sbr, portmap) = (median(Subject::Sbr), median(Subject::Portmap));
    let mut text = format!("{rounds} rounds on {}.\n\n", machine());
    text += "| ADD | median ms | quartiles ms | of `sbr` | aim | of `portmap` | peak memory MB |\n|---|---|---|---|---|---|---|\n";
    for row in rows {
        let aim = row.aim().map_or_else(String::new, |aim| format!("{aim:.2}"));
        let Summary { low, median, high } = row.time;
        let kibibytes = row.peak_kibibytes;
        let megabytes = format!("{}.{:02}", kibibytes * 1024 / 1_000_000, kibibytes * 1024 / 10_000 % 100);
        let _ = writeln!(
            text,
            "| {} | {median:.2} | {low:.2} to {high:.2} | {:.2} | {aim} | {:.3} | {megabytes} |",
            row.subject.name(),
            median / sbr,
            median / portmap,
        );
    }
    text
}
