//! Test support: everything a test of the built programs needs from the machine.
//!
//! Guarantees: whatever is created here carries the prefix `so-` (namespaces) or `sortie-` (folders) and is removed by
//! a guard on every way out, also on a panic; what a killed test left is removed by the next one. Nothing waits for a
//! fixed time. Leaves out: what is right and wrong, which the tests say.

pub mod command;
pub mod net;
pub mod process;
pub mod programs;
pub mod scratch;
pub mod tools;
pub mod wait;

pub use net::{Namespace, Net};
pub use process::Process;
pub use wait::{poll, until};
