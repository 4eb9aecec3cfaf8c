//! What is due when.
//!
//! Guarantees: tasks come out in the order of their times, those of one time in the order they went in. Leaves out:
//! the clock.

use std::collections::BTreeMap;
use std::time::Instant;

/// Tasks by time.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    tasks: BTreeMap<(Instant, u64), T>,
    added: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { tasks: BTreeMap::new(), added: 0 }
    }
}

impl<T> Agenda<T> {
    pub(crate) fn add(&mut self, at: Instant, task: T) {
        self.added += 1;
        self.tasks.insert((at, self.added), task);
    }

    /// The first task due by `now`, with the time it was due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(Instant, T)> {
        let first = self.tasks.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((at, _), task) = first.remove_entry();
        Some((at, task))
    }

    /// When the first task is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.tasks.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn clear(&mut self) {
        self.tasks.clear();
    }
}
