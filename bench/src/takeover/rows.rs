//! The tables.

use std::time::Duration;

use sortie_testkit::Transport;

use crate::figures::Figure;
use crate::plot::{Axis, Line, Plot, Scale};
use crate::report::Report;
use crate::statistics::{Summary, f64_of};
use crate::table::Table;
use crate::takeover::harm::Harm;
use crate::takeover::inbound::Client;
use crate::takeover::run::{FOR_GOOD, Home, Outcome, Side};
use crate::takeover::stage::Replication;

/// Longest silence that is aimed at when an owner goes unplanned, milliseconds.
const SILENCE_AIM: f64 = 500.0;

/// Parts of a line of the plot.
const PARTS: usize = 20;

/// All runs of one kind.
pub(crate) struct Row {
    pub(crate) harm: Harm,
    pub(crate) replication: Replication,
    /// Runs that were repeated.
    pub(crate) failed: usize,
    outcomes: Vec<Outcome>,
}

impl Row {
    pub(crate) fn new(harm: Harm, replication: Replication) -> Self {
        Self { harm, replication, failed: 0, outcomes: Vec::new() }
    }

    /// What is not replicated takes long to be given up; every other round has to do.
    pub(crate) fn has_turn(&self, round: usize) -> bool {
        self.replication == Replication::On || !round.is_multiple_of(2)
    }

    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    pub(crate) fn name(&self) -> String {
        match self.replication {
            Replication::On => self.harm.name().to_owned(),
            Replication::Off => format!("{}, not replicated", self.harm.name()),
        }
    }

    fn outbound(&self, transport: Transport) -> Vec<Duration> {
        silences(self.outcomes.iter().map(|outcome| &outcome.outbound), transport)
    }

    fn inbound(&self, client: usize, transport: Transport) -> Vec<Duration> {
        silences(self.outcomes.iter().map(|outcome| &outcome.inbound[client]), transport)
    }

    fn pushes(&self) -> Vec<Duration> {
        self.outcomes.iter().flat_map(|outcome| outcome.pushes.clone()).collect()
    }

    /// The sum of something over all runs.
    fn total(&self, count: impl Fn(&Outcome) -> usize) -> usize {
        self.outcomes.iter().map(count).sum()
    }

    fn broken(&self, side: impl Fn(&Outcome) -> &Side) -> usize {
        self.total(|outcome| usize::try_from(side(outcome).broken).unwrap_or(usize::MAX))
    }

    /// The longest time of two senders, in milliseconds.
    fn overlap(&self) -> f64 {
        let longest = self.outcomes.iter().map(|outcome| outcome.overlap).max();
        longest.unwrap_or_default().as_secs_f64() * 1000.0
    }

    fn leaked(&self) -> usize {
        self.total(|outcome| outcome.leaked)
    }

    /// The aims: nothing ever leaks; with replication nothing breaks, and 500 ms where it is not planned.
    fn figures(&self) -> Vec<Figure> {
        let name = self.name();
        let mut figures = vec![Figure::never(format!("{name}: packets leaked"), self.leaked(), "packets")];
        figures.push(Figure::never(format!("{name}: failed"), self.failed, "runs"));
        figures.push(Figure::new(format!("{name}: two senders, longest"), self.overlap(), "ms", LEASE));
        if self.replication == Replication::Off {
            return figures;
        }
        let broken = self.broken(|outcome| &outcome.outbound);
        figures.push(Figure::never(format!("{name}: TCP connections broken"), broken, "connections"));
        figures.extend(Client::ALL.into_iter().enumerate().map(|(place, client)| {
            let longest = self.inbound(place, Transport::Udp).into_iter().max().unwrap_or_default();
            let name = format!("{name}: silence of UDP clients, {}, longest", client.name());
            Figure::new(name, longest.as_secs_f64() * 1000.0, "ms", SILENCE_AIM)
        }));
        if self.harm == Harm::Planned {
            figures.extend(HOMES.map(|(home, of)| {
                let (_, lost) = self.count(home);
                Figure::never(format!("{name}: datagrams of {of} lost"), lost, "datagrams")
            }));
        } else {
            let silences = self.outbound(Transport::Udp);
            let Summary { median, .. } = Summary::of(&silences);
            let longest = silences.into_iter().max().unwrap_or_default().as_secs_f64() * 1000.0;
            figures.push(Figure::new(format!("{name}: silence of UDP, median"), median, "ms", SILENCE_AIM));
            figures.push(Figure::new(format!("{name}: silence of UDP, longest"), longest, "ms", SILENCE_AIM));
        }
        figures
    }

    /// Datagrams sent and lost of pods that are at home there.
    fn count(&self, home: Home) -> (usize, usize) {
        let counts = self.outcomes.iter().flat_map(|outcome| &outcome.counts).filter(|(at, _)| *at == home);
        counts.fold((0, 0), |(sent, lost), (_, count)| (sent + count.sent, lost + count.lost))
    }
}

/// The order of columns.
const COLUMNS: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Sctp];

/// For how long a node may send without a renewed permission, milliseconds.
const LEASE: f64 = 300.0;

/// Where pods are in a planned move.
const HOMES: [(Home, &str); 2] =
    [(Home::Successor, "pods of the successor's own node"), (Home::Other, "pods of other nodes")];

fn silences<'a>(sides: impl Iterator<Item = &'a Side>, transport: Transport) -> Vec<Duration> {
    let all = sides.flat_map(|side| &side.silences);
    all.filter(|(t, _)| *t == transport).map(|(_, silence)| *silence).collect()
}

/// `median (longest)` in milliseconds.
fn spread(series: &[Duration]) -> String {
    let mut sorted = series.to_vec();
    sorted.sort();
    let show = |place: usize| match sorted[place] {
        FOR_GOOD => "for good".to_owned(),
        silence => format!("{:.0}", silence.as_secs_f64() * 1000.0),
    };
    sorted.len().checked_sub(1).map_or_else(|| "-".to_owned(), |last| format!("{} ({})", show(last / 2), show(last)))
}

/// The tables, and the aims.
pub(crate) fn report(rows: &[Row]) -> Report {
    let tables = vec![outbound(rows), inbound(rows), planned(rows)];
    Report { tables, figures: rows.iter().flat_map(Row::figures).collect(), plots: vec![plot(rows)] }
}

fn outbound(rows: &[Row]) -> Table {
    let head = ["what happens to the owner", "runs", "UDP, ms", "TCP, ms", "SCTP, ms", "server push, ms"];
    let counts = ["TCP connections broken", "ports changed", "leaked", "runs failed", "two senders, ms"];
    let mut table = Table::new(head.into_iter().chain(counts)).caption("Pods that call a server:");
    for row in rows {
        let [udp, tcp, sctp] = COLUMNS.map(|transport| spread(&row.outbound(transport)));
        let changed = row.total(|outcome| outcome.outbound.changed);
        let broken = row.broken(|outcome| &outcome.outbound);
        let counts = [broken, changed, row.leaked(), row.failed];
        let cells = [row.name(), row.outcomes.len().to_string(), udp, tcp, sctp, spread(&row.pushes())];
        let overlap = format!("{:.1}", row.overlap());
        table.row(cells.into_iter().chain(counts.map(|count| count.to_string())).chain([overlap]));
    }
    table
}

fn inbound(rows: &[Row]) -> Table {
    let columns = ["UDP, ms", "TCP, ms", "SCTP, ms", "TCP broken"];
    let clients = [Client::Plain, Client::Hidden];
    let head = clients.iter().flat_map(|client| columns.map(|column| format!("{}: {column}", client.name())));
    let head: Vec<String> = ["what happens to the owner".to_owned()].into_iter().chain(head).collect();
    let mut table =
        Table::new(head.iter().map(String::as_str)).caption("Clients outside that call pods by the address:");
    for row in rows {
        let cells = clients.into_iter().flat_map(|client| {
            let place = usize::from(client == Client::ALL[1]);
            let cells = COLUMNS.map(|transport| spread(&row.inbound(place, transport)));
            cells.into_iter().chain([row.broken(|outcome| &outcome.inbound[place]).to_string()])
        });
        table.row(std::iter::once(row.name()).chain(cells));
    }
    table
}

fn planned(rows: &[Row]) -> Table {
    let head = ["datagrams in a planned move", "sent", "lost", "lost in one move"];
    let mut table = Table::new(head).caption("A thousand datagrams a second of each pod, counted one by one:");
    for row in rows.iter().filter(|row| row.harm == Harm::Planned) {
        for (home, of) in HOMES {
            let (sent, lost) = row.count(home);
            let each = f64_of(lost) / f64_of(row.outcomes.len().max(1));
            let name = if row.replication == Replication::On { of.to_owned() } else { format!("{of}, not replicated") };
            table.row([name, sent.to_string(), lost.to_string(), format!("{each:.1}")]);
        }
    }
    table
}

/// How many of the flows were silent for at most how long. What differs little from another line is not drawn.
fn plot(rows: &[Row]) -> Plot {
    let is_drawn =
        |row: &&Row| row.replication == Replication::On && ![Harm::Minority, Harm::Majority].contains(&row.harm);
    Plot {
        name: "silence",
        title: "UDP flows by their longest silence".to_owned(),
        x: Axis { label: "milliseconds", scale: Scale::Linear },
        y: Axis { label: "share of flows, per cent", scale: Scale::Linear },
        lines: rows.iter().filter(is_drawn).map(|row| Line { name: row.name(), points: shares(row) }).collect(),
    }
}

/// A point for every twentieth of the flows.
fn shares(row: &Row) -> Vec<(f64, f64)> {
    let mut silences = row.outbound(Transport::Udp);
    silences.sort();
    let Some(last) = silences.len().checked_sub(1) else { return Vec::new() };
    let point =
        |part: usize| (silences[last * part / PARTS].as_secs_f64() * 1000.0, 100.0 * f64_of(part) / f64_of(PARTS));
    (0..=PARTS).map(point).collect()
}
