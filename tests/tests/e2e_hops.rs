//! Next hops: several at once, in reserve, probed, missing.

#[path = "hops/backup.rs"]
mod backup;
#[path = "hops/spread.rs"]
mod spread;
#[path = "hops/unavailable.rs"]
mod unavailable;
