//! The decisions of Sortie, and nothing else.
//!
//! Guarantees: every function here is a pure function of its arguments. Leaves out: files, sockets,
//! processes, threads, clocks and randomness; `clippy.toml` of this crate and `cargo xtask check-layers`
//! refuse them.
//!
//! The way of the data: [`manifest`] text → [`model`] objects → [`world::World`] → [`selection`] →
//! [`desired`] [`state::NodeState`] → [`plan`] steps.
#![forbid(unsafe_code)]

pub mod address;
pub mod allocation;
pub mod annotation;
pub mod apply;
pub mod candidates;
pub mod cni;
pub mod concern;
pub mod desired;
pub mod doctor;
pub mod explain;
pub mod ids;
pub mod manifest;
pub mod model;
pub mod nft;
pub mod ownership;
pub mod plan;
mod reader;
pub mod replica;
pub mod selection;
pub mod state;
pub mod steering;
pub mod world;
