//! Test support: everything a test of the built programs needs from the machine.
//!
//! Guarantees: whatever is created here carries the prefix `so-` (namespaces) or `sortie-` (folders) and is removed by
//! a guard on every way out, also on a panic; what a killed test left is removed by the next one. Nothing waits for a
//! fixed time. Leaves out: what is right and wrong, which the tests say.

pub mod capture;
pub mod cluster;
pub mod cni;
pub mod command;
pub mod containerd;
pub mod echo;
pub mod flow;
pub mod groups;
pub mod helper;
pub mod image;
pub mod kernel;
pub mod kube;
pub mod lab;
pub mod manifest;
pub mod net;
pub mod packet;
pub mod plugin;
pub mod probe;
pub mod process;
pub mod programs;
pub mod raw;
pub mod scratch;
pub mod sctp;
pub mod stream;
pub(crate) mod switch;
pub mod tools;
pub mod wait;

pub use capture::{Capture, Captured};
pub use cni::{Cni, Main, Network, Pod, PodSpec};
pub use echo::{Door, Echo};
pub use flow::{Flow, Seen, Transport};
pub use helper::Helper;
pub use lab::Lab;
pub use net::{Namespace, Net};
pub use probe::{ping, probe};
pub use process::Process;
pub use stream::{Stream, Tally};
pub use wait::{poll, until};
