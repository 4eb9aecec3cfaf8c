//! Changes under way: steering, manifests, authorisation.

#[path = "changes/edits.rs"]
mod edits;
#[path = "changes/manifests.rs"]
mod manifests;
#[path = "changes/steering.rs"]
mod steering;
