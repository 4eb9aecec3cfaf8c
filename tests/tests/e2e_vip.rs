//! Addresses of Services: pods leave with them, clients reach them, nobody else has them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where its assumption does")]

#[path = "vip/inbound.rs"]
mod inbound;
#[path = "vip/source.rs"]
mod source;
#[path = "vip/stage.rs"]
mod stage;
#[path = "vip/wire.rs"]
mod wire;
