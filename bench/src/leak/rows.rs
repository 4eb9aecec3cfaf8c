//! The table.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::figures::Figure;
use crate::leak::pod::Life;
use crate::leak::subject::Subject;
use crate::leak::witness::Tally;
use crate::plot::{Axis, Line, Plot, Scale};
use crate::report::Report;
use crate::statistics::{Summary, f64_of};
use crate::table::Table;

/// Parts of a line of the plot.
const PARTS: usize = 50;
/// Left end of the plot, milliseconds.
const SHORTEST: f64 = 0.1;

/// All pods of one subject.
struct Row {
    subject: Subject,
    pods: usize,
    pods_leaking: usize,
    sent: usize,
    right: usize,
    leaked: usize,
    /// From the first datagram to the last that leaked, of the pods that leaked.
    windows: Vec<Duration>,
}

impl Row {
    fn new(subject: Subject, lives: &[Life], tallies: &BTreeMap<usize, Tally>) -> Self {
        let mut row = Self { subject, pods: 0, pods_leaking: 0, sent: 0, right: 0, leaked: 0, windows: Vec::new() };
        for life in lives.iter().filter(|life| Subject::of(life.number) == subject) {
            let tally = tallies.get(&life.number).copied().unwrap_or_default();
            row.pods += 1;
            row.pods_leaking += usize::from(tally.leaked > 0);
            row.sent += life.sent;
            row.right += tally.right;
            row.leaked += tally.leaked;
            row.windows.extend(tally.last_leaked.map(|last| last.saturating_duration_since(life.began)));
        }
        row
    }

    fn window(&self) -> String {
        let Some(longest) = self.windows.iter().max() else { return "-".to_owned() };
        format!("{:.1} ({:.1})", Summary::of(&self.windows).median, longest.as_secs_f64() * 1000.0)
    }

    /// Nothing ever leaks.
    fn figure(&self) -> Figure {
        Figure::never(format!("{}: packets of {} pods leaked", self.subject.name(), self.pods), self.leaked, "packets")
    }
}

/// The table, and the aim.
pub(crate) fn report(lives: &[Life], tallies: &BTreeMap<usize, Tally>) -> Report {
    let head = ["who", "pods", "pods that leaked", "packets sent", "seen right", "leaked", "leaking for, ms"];
    let mut table = Table::new(head);
    let rows = Subject::ALL.map(|subject| Row::new(subject, lives, tallies));
    for row in &rows {
        let counts = [row.pods, row.pods_leaking, row.sent, row.right, row.leaked].map(|count| count.to_string());
        table.row(std::iter::once(row.subject.name().to_owned()).chain(counts).chain([row.window()]));
    }
    let figures = rows.iter().filter(|row| row.subject == Subject::Sortie).map(Row::figure).collect();
    Report { tables: vec![table], figures, plots: plot(&rows).into_iter().collect() }
}

/// How many of the pods leaked for at least how long; nothing when none did.
fn plot(rows: &[Row]) -> Option<Plot> {
    let line = |row: &Row| Line { name: row.subject.name().to_owned(), points: shares(row) };
    let lines: Vec<Line> = rows.iter().filter(|row| !row.windows.is_empty()).map(line).collect();
    (!lines.is_empty()).then(|| Plot {
        name: "windows",
        title: "Pods by how long they leaked".to_owned(),
        x: Axis { label: "milliseconds from the first datagram to the last that leaked", scale: Scale::Logarithmic },
        y: Axis { label: "share of pods that leaked longer, per cent", scale: Scale::Linear },
        lines,
    })
}

fn shares(row: &Row) -> Vec<(f64, f64)> {
    let mut windows: Vec<f64> = row.windows.iter().map(|window| window.as_secs_f64() * 1000.0).collect();
    windows.sort_by(f64::total_cmp);
    let last = windows.len() - 1;
    // A pod that did not leak has leaked for no time.
    let share = |place: usize| 100.0 * f64_of(windows.len() - place) / f64_of(row.pods);
    let places = (0..=PARTS).map(|part| last * part / PARTS);
    places.map(|place| (windows[place].max(SHORTEST), share(place))).collect()
}
