//! Where the switches of the node's network are.
//!
//! Guarantees: the same switches in a container, whose own `/proc/sys` is read-only, as on the node.

use std::path::{Path, PathBuf};

/// `/proc/sys/net` shows the network namespace of the thread that reads it. In a container the node's own one, mounted at
/// the first place, is used.
const PLACES: [&str; 2] = ["/host/proc/sys/net", "/proc/sys/net"];

/// A folder of switches, `ipv4/conf` for example.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(PLACES.into_iter().find(|place| Path::new(place).is_dir()).unwrap_or(PLACES[1])).join(name)
}
