//! What a node should hold, looked at piece by piece.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where its assumption does")]

mod conntrack;
mod explain;
mod fixture;
mod golden;
mod guard;
mod lanes;
mod vips;
