//! What the plugin and the helper say to each other.
//!
//! Guarantees: one JSON line each way, at most [`LINE_MAX`] bytes, deadlines on both sides, a version in
//! every line. Leaves out: authorisation, which is the socket's mode and peer credentials (helper).

mod frame;
mod message;

pub use frame::{FrameError, LINE_MAX, call, decode, encode};
pub use message::{
    AddressStatus, AttachmentKey, Call, DETACHED, Failure, Reply, Request, RouteStatus, StatusReport, StoredAttachment,
    VERSION,
};
