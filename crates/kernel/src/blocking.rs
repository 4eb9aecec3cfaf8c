//! Kernel access without a runtime: all the plugin needs.
//!
//! Guarantees: one system call per request, no threads, no retry that could wait. Leaves out: anything
//! that needs a process or a notification.

pub(crate) mod conntrack;
mod elements;
mod lease;
mod rules;
mod table;

pub use conntrack::{Conntrack, Loaded};
pub use elements::Elements;
pub use rules::Rules;
#[cfg(feature = "async")]
pub(crate) use rules::rule_of;
