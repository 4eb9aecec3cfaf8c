//! Waiting for something to become true.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `look` finds something, at most for `limit`.
///
/// # Errors
/// When the time is over; the text says `what` was waited for.
pub fn poll<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("not within {} ms: {what}", limit.as_millis());
        }
        std::thread::sleep(PAUSE);
    }
}

/// As [`poll`], for a condition.
///
/// # Errors
/// When it does not hold in time.
pub fn until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    poll(limit, what, || holds().then_some(()))
}
