//! Runs the plugin as a runtime does, against a helper of the test's own making.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod add;
mod del;
mod examples;
mod input;
mod others;
mod support;
