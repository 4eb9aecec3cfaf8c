//! Counting at the far end, as cheap as it can be: frames of the benchmark end where they enter.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use sortie_testkit::Namespace;

use super::frames::UDP_LENGTH;

/// How long what was sent may be under way.
const UNDER_WAY: Duration = Duration::from_millis(200);

/// Frames that ended at each of the two devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) first: u64,
    pub(super) second: u64,
}

impl Seen {
    pub(super) fn all(self) -> u64 {
        self.first + self.second
    }
}

/// Where frames end.
#[derive(Debug)]
pub(super) struct Sink {
    place: Namespace,
}

impl Sink {
    /// On two devices of a namespace. Packets of another length pass.
    ///
    /// # Errors
    /// When nft refuses.
    pub(super) fn lay(place: &Namespace, [first, second]: [&str; 2]) -> Result<Self> {
        let chain = |name: &str, device: &str| {
            format!(
                "counter {name} {{ }}\nchain {name} {{ type filter hook ingress device \"{device}\" priority 0; \
                 udp length {UDP_LENGTH} counter name {name} drop; }}\n"
            )
        };
        place.nft(&format!("table netdev sink {{\n{}{}}}", chain("first", first), chain("second", second)))?;
        Ok(Self { place: place.clone() })
    }

    /// Forgets everything so far.
    ///
    /// # Errors
    /// When nft fails.
    pub(super) fn clear(&self) -> Result<()> {
        self.read().map(drop)
    }

    /// What came since [`Sink::clear`]; waits a moment for what is missing.
    ///
    /// # Errors
    /// When nft fails.
    pub(super) fn await_seen(&self, sent: u64) -> Result<Seen> {
        let (begin, mut seen) = (Instant::now(), Seen::default());
        loop {
            let more = self.read()?;
            seen = Seen { first: seen.first + more.first, second: seen.second + more.second };
            if seen.all() >= sent || begin.elapsed() > UNDER_WAY {
                return Ok(seen);
            }
        }
    }

    fn read(&self) -> Result<Seen> {
        let text = self.place.run("nft", &["-j", "reset", "counters", "table", "netdev", "sink"])?;
        let all: Value = serde_json::from_str(&text).with_context(|| format!("nft printed no JSON: {text}"))?;
        let of = |name: &str| {
            let mut counters = all["nftables"].as_array().into_iter().flatten().map(|object| &object["counter"]);
            counters.find(|counter| counter["name"] == name).and_then(|counter| counter["packets"].as_u64())
        };
        Ok(Seen { first: of("first").context("no counter")?, second: of("second").context("no counter")? })
    }
}
