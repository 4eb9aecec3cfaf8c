//! Traffic of one pod, and everybody who looks at it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::{ROUTERS, servers};
use sortie_testkit::packet::{Packet, TCP};
use sortie_testkit::{Capture, Captured, Flow, Lab, Pod, Stream, Tally};
use sortie_tests::expect::node_address;
use sortie_tests::scene::SOON;

/// Time between two requests of a flow.
const PACE: Duration = Duration::from_millis(2);
/// Flag of a reset.
const RST: u8 = 4;
/// Port of the server that only selected flows go to.
pub(crate) const PORT: u16 = 7000;
/// Longest window in which something may leak when our last means is taken away.
pub(crate) const WINDOW: Duration = Duration::from_millis(200);
/// What the pods of these tests ask for.
pub(crate) const PORTS: &str = "udp:5060,tcp:8000,sctp:2905";

/// Selected flows of both families.
pub(crate) fn flows() -> Vec<Flow> {
    let all = |to| [Flow::udp(5060, to), Flow::tcp(8000, to), Flow::sctp(2905, to)];
    servers(PORT).into_iter().flat_map(all).collect()
}

/// Captures at all routers.
pub(crate) struct Watch {
    captures: BTreeMap<&'static str, Capture>,
}

impl Watch {
    /// Starts looking.
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let start = |name: &'static str| Ok((name, Capture::start(lab.router(name))?));
        Ok(Self { captures: ROUTERS.into_iter().map(start).collect::<Result<_>>()? })
    }

    /// Forgets what was seen so far.
    pub(crate) fn clear(&self) -> Result<()> {
        self.captures.values().try_for_each(Capture::clear)
    }

    /// Packets of selected flows that are anywhere but at one of `routers` with the node's address there.
    pub(crate) fn leaks(&self, routers: &[&str]) -> Result<Vec<Leak>> {
        let mut leaks = Vec::new();
        for (name, capture) in &self.captures {
            let right = |c: &Captured| routers.contains(name) && c.packet.source == node_address(name, c.packet.source);
            let strays = capture.packets()?.into_iter().filter(|c| is_selected(c) && !right(c) && !is_of_the_node(c));
            leaks.extend(strays.map(|c| Leak { at: c.at, router: name, packet: c.packet }));
        }
        leaks.sort_by_key(|leak| leak.at);
        Ok(leaks)
    }

    /// Fails when something leaked.
    pub(crate) fn nothing_leaked(&self, routers: &[&str]) -> Result<()> {
        let leaks = self.leaks(routers)?;
        let first: Vec<String> = leaks.iter().take(3).map(|l| format!("at {}: {:#?}", l.router, l.packet)).collect();
        ensure!(leaks.is_empty(), "{} packets leaked, the first ones: {}", leaks.len(), first.join("\n"));
        Ok(())
    }

    /// Time from the first to the last packet that leaked, and how many did. Resets are left out: the far end goes on for
    /// seconds with a connection it learnt of within the window, and they say that there is none.
    pub(crate) fn window(&self, routers: &[&str]) -> Result<(Duration, usize)> {
        let leaks: Vec<Leak> = self.leaks(routers)?.into_iter().filter(|leak| !is_reset(&leak.packet)).collect();
        let length = match (leaks.first(), leaks.last()) {
            (Some(first), Some(last)) => last.at - first.at,
            _ => Duration::ZERO,
        };
        Ok((length, leaks.len()))
    }

    /// Packets of selected flows at a router.
    pub(crate) fn seen_at(&self, router: &str) -> Result<usize> {
        self.captures.get(router).context("no such router")?.count(is_selected)
    }

    /// Waits until no packet of a selected flow is seen at `router` while `stream` sends 100 more.
    pub(crate) fn falls_silent(&self, router: &str, stream: &Stream) -> Result<()> {
        sortie_testkit::until(SOON, "silence at a router", || {
            let clear = self.clear().and_then(|()| stream.sent(100, SOON)).and_then(|()| self.seen_at(router));
            clear.is_ok_and(|count| count == 0)
        })
    }
}

/// A packet where it must not be.
#[derive(Debug)]
pub(crate) struct Leak {
    /// When it was seen.
    pub(crate) at: Instant,
    /// Where it was seen.
    pub(crate) router: &'static str,
    /// What it is.
    pub(crate) packet: Packet,
}

/// Traffic of every selected flow of a pod.
pub(crate) fn traffic(pod: &Pod) -> Result<Stream> {
    Stream::start(&pod.namespace, &flows(), PACE)
}

/// Every flow has been answered by this router last, and goes on to be.
pub(crate) fn goes_by(stream: &Stream, router: &str) -> Result<()> {
    let count = |tallies: &BTreeMap<Flow, Tally>, flow: &Flow| tallies.get(flow).map_or(0, |t| t.answered_by(router));
    let before = stream.tallies();
    sortie_testkit::until(SOON, "answers by the route on every flow", || {
        let now = stream.tallies();
        flows().iter().all(|flow| count(&now, flow) >= count(&before, flow) + 20)
    })
    .with_context(|| format!("by {router}: {:#?}", stream.tallies()))
}

fn is_selected(c: &Captured) -> bool {
    let is_server = servers(PORT).iter().any(|server| c.packet.destination == server.ip());
    c.device == "node" && c.is_incoming && is_server && c.packet.destination_port == PORT
}

/// A reset by the node's own TCP: the far end goes on with a connection that was forgotten, to the node's address on the
/// route's device, and nothing listens there. No packet of a pod, and it carries nothing of one. (IPv4 does not get that
/// far, because of strict reverse-path filtering.)
fn is_of_the_node(c: &Captured) -> bool {
    let is_node = ROUTERS.iter().any(|router| c.packet.source == node_address(router, c.packet.source));
    is_reset(&c.packet) && is_node
}

fn is_reset(packet: &Packet) -> bool {
    packet.protocol == TCP && packet.flags & RST != 0 && packet.payload.is_empty()
}

/// Whether an address is one of the pod's.
pub(crate) fn is_own(pod: &Pod, address: IpAddr) -> bool {
    pod.addresses.contains(&address)
}
