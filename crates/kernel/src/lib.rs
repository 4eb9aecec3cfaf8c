//! The only crate of Sortie that touches the kernel.
//!
//! Guarantees: reads back only what carries our marks (route protocol 155, tables `inet sortie`
//! and `netdev sortie`, the VXLAN device `sor0`), every action is idempotent, every error keeps its errno and names the object. Leaves out: every decision.

#[cfg(feature = "async")]
pub mod announce;
#[cfg(feature = "blocking")]
pub mod blocking;
#[cfg(feature = "async")]
pub mod echo;
mod error;
#[cfg(feature = "async")]
pub mod events;
#[cfg(feature = "fake")]
pub mod fake;
#[cfg(feature = "async")]
mod linux;
#[cfg(feature = "async")]
pub mod lookup;
#[cfg(feature = "async")]
pub mod neighbour;
#[cfg(feature = "blocking")]
mod netlink;
pub mod netns;
mod platform;
#[cfg(feature = "async")]
pub mod survey;
#[cfg(feature = "async")]
pub mod tracking;

pub use error::KernelError;
#[cfg(feature = "async")]
pub use events::Events;
#[cfg(feature = "async")]
pub use linux::{Linux, Own};
pub use platform::{Event, Platform};
