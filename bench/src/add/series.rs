//! What was measured so far.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::add::measure::Verb;
use crate::add::subjects::Subject;
use crate::statistics::Summary;

/// Whether the helper runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Daemon {
    Up,
    Down,
}

/// One kind of call.
pub(crate) type Kind = (Daemon, Verb);

/// Times and memory of every plugin in every kind of call.
#[derive(Debug, Default)]
pub(crate) struct Series {
    times: BTreeMap<(Kind, Subject), Vec<Duration>>,
    /// KiB.
    peaks: BTreeMap<(Kind, Subject), u64>,
}

impl Series {
    pub(crate) fn took(&mut self, kind: Kind, subject: Subject, time: Duration) {
        self.times.entry((kind, subject)).or_default().push(time);
    }

    /// Keeps the largest.
    pub(crate) fn held(&mut self, kind: Kind, subject: Subject, kibibytes: u64) {
        let peak = self.peaks.entry((kind, subject)).or_default();
        *peak = kibibytes.max(*peak);
    }

    /// Nothing for what was not called so.
    pub(crate) fn time(&self, kind: Kind, subject: Subject) -> Option<Summary> {
        self.times.get(&(kind, subject)).map(|series| Summary::of(series))
    }

    /// Largest resident size of the process, KiB.
    pub(crate) fn peak(&self, kind: Kind, subject: Subject) -> Option<u64> {
        self.peaks.get(&(kind, subject)).copied()
    }
}
