//! The only crate of Sortie that touches the kernel.
//!
//! Guarantees: reads back only what carries our marks (route protocol 155, table `inet sortie`), every
//! action is idempotent, every error keeps its errno and names the object. Leaves out: every decision.

#[cfg(feature = "blocking")]
pub mod blocking;
mod error;
#[cfg(feature = "blocking")]
mod netlink;
mod platform;

pub use error::KernelError;
pub use platform::{Event, Platform};
