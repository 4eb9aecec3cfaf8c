//! One cell after the other.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::site::{Flows, Who};
use super::subject::{Subject, Way};

/// How long a cell sends.
const LENGTH: Duration = Duration::from_millis(150);

/// Who sends what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) who: Who,
    pub(super) flows: Flows,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [
        Self { who: Who::Selected, flows: Flows::Running },
        Self { who: Who::Other, flows: Flows::Running },
        Self { who: Who::Selected, flows: Flows::New },
        Self { who: Who::Other, flows: Flows::New },
    ];
}

/// What was found of one kind in each round.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// Nanoseconds for a packet, by round.
    pub(super) nanoseconds: Vec<f64>,
    pub(super) sent: u64,
    pub(super) lost: u64,
}

/// Everything about one subject, by the index of [`Kind::ALL`].
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) way: Way,
    pub(super) series: [Series; 4],
}

impl Measured {
    pub(super) fn new(way: Way) -> Self {
        Self { way, series: <[Series; 4]>::default() }
    }

    /// One more round.
    ///
    /// # Errors
    /// When packets take the wrong way.
    pub(super) fn measure(&mut self, subject: &Subject) -> Result<()> {
        for (kind, series) in Kind::ALL.into_iter().zip(&mut self.series) {
            cell(subject, kind, series).with_context(|| format!("{:?}, {kind:?}", subject.way))?;
        }
        Ok(())
    }
}

fn cell(subject: &Subject, kind: Kind, series: &mut Series) -> Result<()> {
    let Kind { who, flows } = kind;
    if flows == Flows::Running && !matches!(subject.way, Way::Sender) {
        // Flows that nobody steers may be refused by what is left of the product.
        let begun = subject.site.begin(who);
        ensure!(begun.is_ok() || matches!(subject.way, Way::Only(_)), "no answer: {begun:?}");
    }
    subject.sink.clear()?;
    let burst = subject.site.send(who, flows, LENGTH)?;
    let seen = subject.sink.await_seen(burst.sent)?;
    if let Some(second) = subject.second(who) {
        let astray = if second { seen.first } else { seen.second };
        ensure!(astray == 0, "{astray} of {} packets left by the wrong device", burst.sent);
    }
    if flows == Flows::New && subject.way != Way::Sender {
        subject.site.forget()?;
    }
    series.nanoseconds.push(burst.nanoseconds);
    series.sent += burst.sent;
    series.lost += burst.sent.saturating_sub(seen.all());
    Ok(())
}
