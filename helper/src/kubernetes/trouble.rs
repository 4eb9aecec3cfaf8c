//! What fails again and again.
//!
//! Guarantees: each trouble is logged once while it lasts, and again when it comes back.

use std::fmt;

/// The trouble of one task.
#[derive(Debug, Default)]
pub(super) struct Trouble(String);

impl Trouble {
    /// Takes what came of one more try, and logs it behind `what` if it is new; whether it failed.
    pub(super) fn has_failed(&mut self, what: impl fmt::Display, outcome: Result<(), String>) -> bool {
        let now = outcome.err().unwrap_or_default();
        if !now.is_empty() && now != self.0 {
            log::warn!("{what} error=\"{now}\"");
        }
        self.0 = now;
        !self.0.is_empty()
    }
}
