//! The tables.

use crate::add::down::LIMIT;
use crate::add::measure::Verb;
use crate::add::series::{Daemon, Kind, Series};
use crate::add::subjects::Subject;
use crate::figures::Figure;
use crate::report::Report;
use crate::statistics::Summary;
use crate::table::Table;

/// Most memory that is aimed at, MB.
const MEMORY_AIM: f64 = 2.0;

/// The tables, and the aims.
pub(crate) fn report(series: &Series) -> Report {
    let limit = LIMIT.as_millis();
    let down = format!(
        "ADD without the helper; a pod with a route is refused (error 11, try again) at the limit, here {limit} ms:"
    );
    let tables = [
        ("ADD:".to_owned(), (Daemon::Up, Verb::Add)),
        ("DEL:".to_owned(), (Daemon::Up, Verb::Del)),
        (down, (Daemon::Down, Verb::Add)),
        ("DEL without the helper:".to_owned(), (Daemon::Down, Verb::Del)),
    ];
    let tables = tables.iter().map(|(caption, kind)| table(caption, *kind, series)).collect();
    let figures = Subject::ALL.into_iter().flat_map(|subject| figures(subject, series)).collect();
    Report { tables, figures, plots: Vec::new() }
}

fn table(caption: &str, kind: Kind, series: &Series) -> Table {
    let mut table =
        Table::new(["plugin", "median ms", "quartiles ms", "of `sbr`", "aim", "peak memory MB"]).caption(caption);
    for subject in Subject::ALL {
        let Some(Summary { low, median, high }) = series.time(kind, subject) else { continue };
        let text = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
        table.row([
            subject.name().to_owned(),
            format!("{median:.2}"),
            format!("{low:.2} to {high:.2}"),
            text(share(kind, subject, series)),
            text(aim(kind, subject)),
            text(series.peak(kind, subject).map(megabytes)),
        ]);
    }
    table
}

fn figures(subject: Subject, series: &Series) -> Vec<Figure> {
    let (add, name) = ((Daemon::Up, Verb::Add), subject.name());
    let mut figures = Vec::new();
    if let (Some(aim), Some(share)) = (aim(add, subject), share(add, subject, series)) {
        figures.push(Figure::new(format!("ADD, {name}"), share, "of sbr", aim));
    }
    for verb in [Verb::Add, Verb::Del] {
        if let Some(peak) = series.peak((Daemon::Up, verb), subject).filter(|_| subject.is_ours()) {
            figures.push(Figure::new(format!("{}, {name}: memory", verb.word()), megabytes(peak), "MB", MEMORY_AIM));
        }
    }
    figures
}

/// Of the median of `sbr` in the same kind of call.
fn share(kind: Kind, subject: Subject, series: &Series) -> Option<f64> {
    Some(series.time(kind, subject)?.median / series.time(kind, Subject::Sbr)?.median)
}

/// Largest share of `sbr`'s time that is aimed at.
fn aim(kind: Kind, subject: Subject) -> Option<f64> {
    match (kind, subject) {
        ((Daemon::Up, Verb::Add), Subject::Selected) => Some(0.25),
        ((Daemon::Up, Verb::Add), Subject::Unselected) => Some(0.20),
        _ => None,
    }
}

/// Of KiB.
fn megabytes(kibibytes: u64) -> f64 {
    u32::try_from(kibibytes).map_or(f64::INFINITY, f64::from) * 1024.0 / 1e6
}
