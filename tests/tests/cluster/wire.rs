//! What pods send to the server, as the switch between the nodes and their routers sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::{SERVER4, SERVER6};
use sortie_testkit::{Capture, Captured, Namespace};

/// Pods that sent nothing for so long have ended.
const QUIET: Duration = Duration::from_secs(1);

/// A packet that a node sent to the server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sent {
    /// Who wrote it; empty for a packet without a name, like the first one of TCP.
    pub(crate) pod: String,
    pub(crate) number: u64,
    /// Port of the switch: `n1o` for eth1 of n1.
    pub(crate) port: String,
    pub(crate) source: IpAddr,
    at: Instant,
}

/// Everything since its start.
pub(crate) struct Wire {
    capture: Capture,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    sent: Vec<Sent>,
    tallies: BTreeMap<Stream, Tally>,
}

/// A pod, and whether its packets are of version 6.
pub(crate) type Stream = (String, bool);

/// How much of a stream passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tally {
    pub(crate) packets: usize,
    /// How often the first one: once for each start of the pod's container.
    pub(crate) begins: usize,
}

impl Wire {
    pub(crate) fn new(switch: &Namespace) -> Result<Self> {
        Ok(Self { capture: Capture::start(switch)?, seen: Mutex::default() })
    }

    /// What pods sent whose name starts with `app` and a dash.
    pub(crate) fn sent(&self, app: &str) -> Result<Vec<Sent>> {
        let app = format!("{app}-");
        Ok(self.look()?.sent.iter().filter(|sent| sent.pod.starts_with(&app)).cloned().collect())
    }

    /// Fails when a packet of `app` left in another way, or none left.
    pub(crate) fn only(&self, app: &str, fits: impl Fn(&Sent) -> bool) -> Result<()> {
        let all = self.sent(app)?;
        ensure!(!all.is_empty(), "nothing left of {app}");
        none_astray(&all, fits).with_context(|| format!("of {app}"))
    }

    /// Fails when a packet of anybody left in another way, also one without a name.
    pub(crate) fn all(&self, fits: impl Fn(&Sent) -> bool) -> Result<usize> {
        let seen = self.look()?;
        none_astray(&seen.sent, fits)?;
        Ok(seen.sent.len())
    }

    /// Whether nothing left of `app` for a while.
    pub(crate) fn is_quiet(&self, app: &str) -> Result<bool> {
        let last = self.sent(app)?.iter().map(|sent| sent.at).max();
        Ok(last.is_none_or(|at| at.elapsed() > QUIET))
    }

    /// Numbers of the first datagrams of a pod, by family.
    pub(crate) fn first(&self, pod: &str) -> Result<[Option<u64>; 2]> {
        let seen = self.look()?;
        let of = |six: bool| {
            let own = seen.sent.iter().filter(|sent| sent.pod == pod && sent.source.is_ipv6() == six);
            own.map(|sent| sent.number).min()
        };
        Ok([of(false), of(true)])
    }

    /// How much of each stream passed.
    pub(crate) fn tallies(&self) -> Result<BTreeMap<Stream, Tally>> {
        Ok(self.look()?.tallies.clone())
    }

    /// How much of one.
    pub(crate) fn tally(&self, stream: &Stream) -> Result<Tally> {
        Ok(self.look()?.tallies.get(stream).copied().unwrap_or_default())
    }

    /// Everything until now; what is of no interest is forgotten, as a long test sees millions of packets.
    fn look(&self) -> Result<MutexGuard<'_, Seen>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for sent in self.capture.take()?.iter().filter_map(sent) {
            let tally = seen.tallies.entry((sent.pod.clone(), sent.source.is_ipv6())).or_default();
            tally.packets += 1;
            tally.begins += usize::from(sent.number == 0);
            seen.sent.push(sent);
        }
        Ok(seen)
    }
}

fn none_astray(all: &[Sent], fits: impl Fn(&Sent) -> bool) -> Result<()> {
    let strays: Vec<&Sent> = all.iter().filter(|sent| !fits(sent)).collect();
    let ways: BTreeSet<_> = strays.iter().map(|sent| (&sent.pod, &sent.port, sent.source)).collect();
    let (count, first) = (strays.len(), strays.first());
    ensure!(strays.is_empty(), "{count} of {} packets astray: {ways:?}, first {first:?}", all.len());
    Ok(())
}

fn sent(captured: &Captured) -> Option<Sent> {
    let packet = &captured.packet;
    let is_outward = captured.is_incoming && captured.device.starts_with('n');
    if !is_outward || ![IpAddr::from(SERVER4), SERVER6.into()].contains(&packet.destination) {
        return None;
    }
    let (pod, number) = name(&packet.payload).unwrap_or_default();
    Some(Sent { pod, number, port: captured.device.clone(), source: packet.source, at: captured.at })
}

/// Pod and number in what `probe` wrote.
pub(crate) fn name(payload: &[u8]) -> Option<(String, u64)> {
    let (pod, number) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
    Some((pod.to_owned(), number.trim().parse().ok()?))
}

/// Address of the far end's answer to a pod, and the router it came by.
pub(crate) fn seen(answer: &str) -> Result<(String, IpAddr)> {
    let seen = sortie_testkit::Seen::read(answer).with_context(|| format!("no answer in {answer:?}"))?;
    Ok((seen.door, seen.source.ip().to_canonical()))
}
