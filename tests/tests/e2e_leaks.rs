//! The leak matrix: whatever happens to the node, no packet of a selected flow is seen where it must not be.
//!
//! Every test runs in both modes of steering while UDP, TCP and SCTP of both families go on. A packet of a selected flow
//! is one to the server's port 7000, whatever its source. It leaks when it arrives at the default router, or at the
//! route's router with another source than the node's address there.

#[path = "leaks/changes.rs"]
mod changes;
#[path = "leaks/guard.rs"]
mod guard;
#[path = "leaks/losses.rs"]
mod losses;
#[path = "leaks/outages.rs"]
mod outages;
#[path = "leaks/pods.rs"]
mod pods;
#[path = "leaks/watch.rs"]
mod watch;

/// One test per event and mode.
macro_rules! in_both_modes {
    ($($(#[$note:meta])* $event:ident),+ $(,)?) => {
        mod rules {
            $($(#[$note])* #[test] fn $event() -> anyhow::Result<()> { super::$event("rules") })+
        }
        mod marks {
            $($(#[$note])* #[test] fn $event() -> anyhow::Result<()> { super::$event("marks") })+
        }
    };
}
use in_both_modes;
