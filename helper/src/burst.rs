//! Changes that come together.
//!
//! Guarantees: a burst is due soon after its last change, and not much later than its first.

use std::time::Duration;

use tokio::time::Instant;

/// A burst of changes is over after this time without one.
const QUIET: Duration = Duration::from_millis(20);
/// A burst is served in between when it lasts this long.
const LONGEST: Duration = Duration::from_millis(200);

/// Changes not yet served.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Burst(Option<(Instant, Instant)>);

impl Burst {
    /// There was a change.
    pub(crate) fn goes_on(&mut self) {
        let latest = Instant::now();
        self.0 = Some((self.0.map_or(latest, |(began, _)| began), latest));
    }

    /// When it is to be served; `None` without a change.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.map(|(began, latest)| (latest + QUIET).min(began + LONGEST))
    }

    /// It was served.
    pub(crate) fn ends(&mut self) {
        self.0 = None;
    }
}
