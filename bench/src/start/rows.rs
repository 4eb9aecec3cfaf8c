//! The table.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::figures::Figure;
use crate::report::Report;
use crate::start::nodes::Way;
use crate::statistics::{Summary, percentile};
use crate::table::Table;

/// Largest share of the chain without Sortie that is aimed at: what repeating the same chain differs by.
const AIM: f64 = 1.05;

/// Times of every start.
#[derive(Debug, Default)]
pub(crate) struct Series {
    taken: BTreeMap<(usize, Way), Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    pods: Vec<Duration>,
    /// Until the last pod of a crowd.
    crowds: Vec<Duration>,
}

impl Series {
    /// One crowd.
    pub(crate) fn add(&mut self, way: Way, crowd: usize, times: Vec<Duration>) {
        let taken = self.taken.entry((crowd, way)).or_default();
        taken.crowds.extend(times.iter().max());
        taken.pods.extend(times);
    }
}

impl Taken {
    /// Of the median time until the last pod of a crowd. Which pod of a crowd is how early is a matter of luck.
    fn share(&self, base: &Self) -> f64 {
        Summary::of(&self.crowds).median / Summary::of(&base.crowds).median
    }
}

/// The table, and the aims.
pub(crate) fn report(series: &Series, crowds: &[usize]) -> Report {
    let columns =
        ["at once", "chain", "median ms", "quartiles ms", "p95 ms", "all, ms", "median, of without", "all, of without"];
    let (mut table, mut figures) = (Table::new(columns), Vec::new());
    for crowd in crowds {
        let Some(base) = series.taken.get(&(*crowd, Way::Without)) else { continue };
        for way in Way::ALL {
            let Some(taken) = series.taken.get(&(*crowd, way)) else { continue };
            table.row(row(*crowd, way, (taken, base)));
            if way != Way::Without {
                let name = format!("{crowd} at once, {}: until the last one", way.name());
                figures.push(Figure::new(name, taken.share(base), "of without", AIM));
            }
        }
    }
    Report { tables: vec![table], figures, plots: Vec::new() }
}

fn row(crowd: usize, way: Way, (taken, base): (&Taken, &Taken)) -> [String; 8] {
    let (pods, all) = (Summary::of(&taken.pods), Summary::of(&taken.crowds));
    [
        crowd.to_string(),
        way.name().to_owned(),
        format!("{:.0}", pods.median),
        format!("{:.0} to {:.0}", pods.low, pods.high),
        format!("{:.0}", percentile(&taken.pods, 95)),
        format!("{:.0} ({:.0} to {:.0})", all.median, all.low, all.high),
        format!("{:.2}", pods.median / Summary::of(&base.pods).median),
        format!("{:.2}", taken.share(base)),
    ]
}
