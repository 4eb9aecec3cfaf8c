//! The table.

use std::fmt::Write as _;
use std::time::Duration;

use sortie_testkit::Transport;
use sortie_tests::document::machine;
use sortie_tests::statistics::Summary;

use crate::harm::Harm;
use crate::run::Outcome;

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
        let all = self.outcomes.iter().flat_map(|outcome| &outcome.silences);
        let series: Vec<Duration> = all.filter(|(t, _)| *t == transport).map(|(_, silence)| *silence).collect();
        spread(&series)
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

/// The table in Markdown, with the machine it was measured on.
pub(crate) fn table(rows: &[Row], runs: usize) -> String {
    let mut text = format!("{runs} runs of each kind on {}.\n\n", machine());
    text += "| what happens to the owner | UDP, ms | TCP, ms | SCTP, ms | server push, ms | TCP connections broken | leaked | two senders |\n";
    text += "|---|---|---|---|---|---|---|---|\n";
    for row in rows {
        let [udp, tcp, sctp] = [Transport::Udp, Transport::Tcp, Transport::Sctp].map(|t| row.silence(t));
        let broken: u64 = row.outcomes.iter().map(|outcome| outcome.broken).sum();
        let leaked: usize = row.outcomes.iter().map(|outcome| outcome.leaked).sum();
        let overlaps: usize = row.outcomes.iter().map(|outcome| outcome.overlaps).sum();
        let (name, push) = (row.harm.name(), row.deafness());
        let _ = writeln!(text, "| {name} | {udp} | {tcp} | {sctp} | {push} | {broken} | {leaked} | {overlaps} |");
    }
    text
}
