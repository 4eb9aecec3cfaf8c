//! End-to-end tests of Sortie: built programs, real CNI plugins, packets at the far end.
//!
//! Guarantees: a test that fails says what the node looked like. Leaves out: the topology and the guards, which are
//! `sortie_testkit`'s.

pub mod api;
pub mod archive;
pub mod commands;
pub mod expect;
pub mod install;
pub mod push;
pub mod scene;

pub use scene::{Scene, scenario};
