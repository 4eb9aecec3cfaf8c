//! What the routers see.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use sortie_testkit::lab::{NODE4, ROUTERS};
use sortie_testkit::packet::UDP;
use sortie_testkit::{Capture, Captured, Lab};

/// Port of the server, where nobody answers.
pub(crate) const PORT: u16 = 9000;
/// The router by which pods are to leave.
const RIGHT: usize = 1;

/// What was seen of a pod.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// By the right router, with the node's address there.
    pub(crate) right: usize,
    /// By another router or with another source.
    pub(crate) leaked: usize,
    pub(crate) last_leaked: Option<Instant>,
}

/// Captures at all routers.
pub(crate) struct Witness {
    captures: Vec<(usize, Capture)>,
    tallies: Mutex<BTreeMap<usize, Tally>>,
}

impl Witness {
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        // Refusals would cost the senders time.
        lab.server.nft(&format!(
            "table inet quiet {{ chain in {{ type filter hook input priority 0; udp dport {PORT} drop; }}; }}"
        ))?;
        let captures = ROUTERS.iter().enumerate().map(|(index, name)| Ok((index, Capture::start(lab.router(name))?)));
        Ok(Self { captures: captures.collect::<Result<_>>()?, tallies: Mutex::default() })
    }

    /// Counts what was seen since the last time.
    pub(crate) fn look(&self) -> Result<()> {
        // One at a time: who takes packets also takes the mark by which another one knows that he has all of them.
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        for (router, capture) in &self.captures {
            let packets = capture.take()?;
            for captured in packets.iter().filter(|captured| is_of_a_pod(captured)) {
                let Some(number) = number(&captured.packet.payload) else { continue };
                tallies.entry(number).or_default().count(*router, captured);
            }
        }
        Ok(())
    }

    /// Everything, by the number of the pod.
    pub(crate) fn tallies(&self) -> Result<BTreeMap<usize, Tally>> {
        self.look()?;
        Ok(self.tallies.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Tally {
    fn count(&mut self, router: usize, captured: &Captured) {
        if router == RIGHT && captured.packet.source == IpAddr::V4(NODE4[RIGHT]) {
            self.right += 1;
        } else {
            self.leaked += 1;
            self.last_leaked = self.last_leaked.max(Some(captured.at));
        }
    }
}

fn is_of_a_pod(captured: &Captured) -> bool {
    let Captured { device, is_incoming, packet, .. } = captured;
    *is_incoming && device == "node" && packet.protocol == UDP && packet.destination_port == PORT
}

/// What a pod writes.
pub(crate) fn label(number: usize) -> String {
    format!("pod {number}")
}

fn number(payload: &[u8]) -> Option<usize> {
    std::str::from_utf8(payload).ok()?.strip_prefix("pod ")?.parse().ok()
}
