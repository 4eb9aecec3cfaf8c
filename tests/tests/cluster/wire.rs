//! Datagrams of pods as the switch between the nodes and their routers sees them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::{SERVER4, SERVER6};
use sortie_testkit::{Capture, Captured, Namespace};

/// Pods that sent nothing for so long have ended.
const QUIET: Duration = Duration::from_secs(1);

/// A datagram of `probe send` that a node sent to the server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sent {
    pub(crate) pod: String,
    pub(crate) number: u64,
    /// Port of the switch: `n1o` for eth1 of n1.
    pub(crate) port: String,
    pub(crate) source: IpAddr,
    at: Instant,
}

/// Everything since its start.
pub(crate) struct Wire(Capture);

impl Wire {
    pub(crate) fn new(switch: &Namespace) -> Result<Self> {
        Capture::start(switch).map(Self)
    }

    /// What pods sent whose name starts with `app` and a dash.
    pub(crate) fn sent(&self, app: &str) -> Result<Vec<Sent>> {
        let app = format!("{app}-");
        let all = self.0.packets()?;
        Ok(all.iter().filter_map(sent).filter(|sent| sent.pod.starts_with(&app)).collect())
    }

    /// Fails when a datagram of `app` left in another way, or none left.
    pub(crate) fn only(&self, app: &str, fits: impl Fn(&Sent) -> bool) -> Result<()> {
        let all = self.sent(app)?;
        ensure!(!all.is_empty(), "nothing left of {app}");
        let strays: Vec<&Sent> = all.iter().filter(|sent| !fits(sent)).collect();
        let ways: BTreeSet<_> = strays.iter().map(|sent| (&sent.pod, &sent.port, sent.source)).collect();
        let first = strays.first();
        ensure!(
            strays.is_empty(),
            "{} of {} datagrams of {app} astray: {ways:?}, first {first:?}",
            strays.len(),
            all.len()
        );
        Ok(())
    }

    /// Whether nothing left of `app` for a while.
    pub(crate) fn is_quiet(&self, app: &str) -> Result<bool> {
        let last = self.sent(app)?.iter().map(|sent| sent.at).max();
        Ok(last.is_none_or(|at| at.elapsed() > QUIET))
    }

    /// Numbers of the first datagrams of a pod, by family.
    pub(crate) fn first(&self, pod: &str) -> Result<[Option<u64>; 2]> {
        let all = self.0.packets()?;
        let of = |six: bool| {
            let own = all.iter().filter_map(sent).filter(|sent| sent.pod == pod && sent.source.is_ipv6() == six);
            own.map(|sent| sent.number).min()
        };
        Ok([of(false), of(true)])
    }
}

fn sent(captured: &Captured) -> Option<Sent> {
    let packet = &captured.packet;
    let is_outward = captured.is_incoming && captured.device.starts_with('n');
    if !is_outward || ![IpAddr::from(SERVER4), SERVER6.into()].contains(&packet.destination) {
        return None;
    }
    let (pod, number) = std::str::from_utf8(&packet.payload).ok()?.split_once(' ')?;
    let number = number.parse().ok()?;
    Some(Sent { pod: pod.to_owned(), number, port: captured.device.clone(), source: packet.source, at: captured.at })
}

/// Address of the far end's answer to a pod, and the router it came by.
pub(crate) fn seen(answer: &str) -> Result<(String, IpAddr)> {
    let seen = sortie_testkit::Seen::read(answer).with_context(|| format!("no answer in {answer:?}"))?;
    Ok((seen.door, seen.source.ip().to_canonical()))
}
