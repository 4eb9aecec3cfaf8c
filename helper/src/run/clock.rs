//! When to reconcile.
//!
//! Guarantees: never longer than [`RESYNC`] without a reconcile; failures are repeated at growing intervals and told
//! once each; a burst of kernel events is served together.

use std::time::Duration;

use tokio::time::Instant;

use crate::node::{Disposition, NodeError, chain};

/// Longest time without a reconcile.
const RESYNC: Duration = Duration::from_secs(30);
/// Least time between two reconciles that kernel events cause; the first is immediate.
const BURST: Duration = Duration::from_millis(20);
/// Time until a failed reconcile is repeated, doubled each time up to [`RESYNC`].
pub(super) const RETRY: Duration = Duration::from_millis(100);

/// When the next reconcile is due.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) due: Instant,
    last: Option<Instant>,
    retry: Duration,
    failure: String,
}

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now, last: None, retry: RETRY, failure: String::new() }
    }

    pub(super) fn within(&mut self, time: Duration) {
        self.due = self.due.min(Instant::now() + time);
    }

    /// At once, unless the last one is too short a time ago.
    pub(super) fn after_burst(&mut self) {
        let earliest = self.last.map_or(self.due, |last| last + BURST);
        self.due = self.due.min(earliest);
    }

    pub(super) fn succeeded(&mut self, now: Instant) {
        if !self.failure.is_empty() {
            log::info!("reconcile succeeded again");
        }
        *self = Self { due: now + RESYNC, last: Some(now), ..Self::new(now) };
    }

    pub(super) fn has_failed(&mut self, now: Instant, error: &NodeError) {
        let text = chain(error);
        if error.disposition() == Disposition::WaitForChange {
            self.retry = RESYNC;
        }
        if self.is_news(&text) {
            log::error!("reconcile failed, next try in {} ms error=\"{text}\"", self.retry.as_millis());
        }
        self.failure = text;
        (self.due, self.last) = (now + self.retry, Some(now));
        self.retry = (self.retry * 2).min(RESYNC);
    }

    /// Another failure than before, or a longer wait.
    fn is_news(&self, text: &str) -> bool {
        self.failure != text || self.retry < RESYNC
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_repeated_at_growing_intervals_and_then_silently() {
        let now = Instant::now();
        let mut clock = Clock::new(now);
        let mut fail = || {
            let news = clock.is_news("the kernel still differs after a reconcile: x");
            clock.has_failed(now, &NodeError::Unsettled("x".to_owned()));
            ((clock.due - now).as_millis(), news)
        };
        let waits: Vec<_> = (0..12).map(|_| fail()).collect();
        assert_eq!(&waits[..3], [(100, true), (200, true), (400, true)]);
        assert_eq!(waits[11], (RESYNC.as_millis(), false));
        clock.succeeded(now);
        assert!(clock.is_news("the kernel still differs after a reconcile: x"));
    }

    #[test]
    fn what_only_a_change_can_mend_is_not_tried_again_soon() {
        let now = Instant::now();
        let mut clock = Clock::new(now);
        clock.has_failed(now, &NodeError::ClusterUnknown);
        assert_eq!(clock.due, now + RESYNC);
    }

    #[test]
    fn the_first_event_is_served_at_once_and_a_burst_together() {
        let now = Instant::now();
        let mut clock = Clock::new(now);
        clock.succeeded(now - RESYNC / 2);
        clock.after_burst();
        assert!(clock.due <= now);
        clock.succeeded(now);
        clock.after_burst();
        assert_eq!(clock.due, now + BURST);
    }
}
