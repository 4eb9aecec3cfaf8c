//! The life of attachments: every verb of CNI, crowds, a helper that dies, and what remains at the end.

#[path = "life/crowd.rs"]
mod crowd;
#[path = "life/end.rs"]
mod end;
#[path = "life/verbs.rs"]
mod verbs;
