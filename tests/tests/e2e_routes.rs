//! Chosen traffic of a pod leaves by its route, everything else the old way.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where its assumption does")]

#[path = "routes/first_packet.rs"]
mod first_packet;
#[path = "routes/fragments.rs"]
mod fragments;
#[path = "routes/icmp.rs"]
mod icmp;
#[path = "routes/inbound.rs"]
mod inbound;
#[path = "routes/selection.rs"]
mod selection;
#[path = "routes/source.rs"]
mod source;
