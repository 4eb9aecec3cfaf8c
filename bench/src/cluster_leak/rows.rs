//! The table.

use std::time::Duration;

use crate::cluster::Subject;
use crate::cluster_leak::turn::{COUNTED, Life, Side, Tally};
use crate::figures::Figure;
use crate::report::Report;
use crate::statistics::Summary;
use crate::table::Table;

/// A kind of datagrams: what the table calls it, and where it was counted.
type Kind = (&'static str, fn(&Life) -> &Tally);
const KINDS: [Kind; 2] = [("one flow", |life| &life.running), ("new flows", |life| &life.new)];

/// The table, and the aim.
pub(super) fn report(sides: &[Side], other: &str) -> Report {
    let head = ["who", "datagrams", "pods", "pods that leaked", "sent", "seen right", "leaked", "not seen"];
    let mut table = Table::new(head.into_iter().chain(["leaking for, ms"])).caption(other);
    for (side, (kind, tally)) in sides.iter().flat_map(|side| KINDS.map(|kind| (side, kind))) {
        let tallies: Vec<&Tally> = side.lives.iter().map(tally).collect();
        let leaking = tallies.iter().filter(|tally| tally.leaked > 0).count();
        let sent = tallies.len() * usize::try_from(COUNTED).unwrap_or(usize::MAX);
        let [right, leaked] = [sum(&tallies, |tally| tally.right), sum(&tallies, |tally| tally.leaked)];
        let counts = [tallies.len(), leaking, sent, right, leaked, sent.saturating_sub(right + leaked)];
        let words = [side.subject.name().to_owned(), kind.to_owned()];
        table.row(words.into_iter().chain(counts.map(|count| count.to_string())).chain([window(&tallies)]));
    }
    let own = sides.iter().filter(|side| side.subject == Subject::Sortie).map(figure).collect();
    Report { tables: vec![table], figures: own, plots: Vec::new() }
}

fn sum(tallies: &[&Tally], count: impl Fn(&Tally) -> usize) -> usize {
    tallies.iter().map(|tally| count(tally)).sum()
}

/// Median and longest.
fn window(tallies: &[&Tally]) -> String {
    let windows: Vec<Duration> = tallies.iter().filter_map(|tally| tally.window()).collect();
    let Some(longest) = windows.iter().max() else { return "-".to_owned() };
    format!("{:.0} ({})", Summary::of(&windows).median, longest.as_millis())
}

/// Nothing ever leaks.
fn figure(side: &Side) -> Figure {
    let leaked = side.lives.iter().flat_map(|life| KINDS.map(|(_, tally)| tally(life).leaked)).sum();
    Figure::never(format!("sortie: packets of {} pods of a cluster leaked", side.lives.len()), leaked, "packets")
}
