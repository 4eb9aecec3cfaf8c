//! What passed the switch between the nodes and their routers.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use anyhow::Result;
use sortie_testkit::lab::SERVER4;
use sortie_testkit::packet::UDP;
use sortie_testkit::{Capture, Captured, Namespace};

/// Port of the server for what pods send from one port.
pub(super) const RUNNING: u16 = 7000;
/// For what they send from a new port each time.
pub(super) const NEW: u16 = 7001;
/// Port of a Service.
pub(crate) const SERVED: u16 = 5060;
/// The network by whose router pods are to leave, as ports of the switch end.
const RIGHT: char = 'l';

/// What a packet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Datagram of a flow that runs.
    Running(Said),
    /// First datagram of a flow.
    New(Said),
    /// An answer to a caller.
    Caller,
}

/// What a pod writes into a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) pod: String,
    /// From 0.
    pub(crate) number: u64,
    /// Where the server said that datagrams of this kind come from, if it has answered since the last one.
    pub(crate) answered: Option<IpAddr>,
}

/// A packet that a node sent.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    pub(crate) at: Instant,
    pub(crate) kind: Kind,
    /// Number of the node.
    pub(crate) node: usize,
    /// Where it came from, when it left by the right network.
    source: Option<IpAddr>,
}

impl Passed {
    /// Whether it has this address and left by the right network.
    pub(crate) fn is_right(&self, address: IpAddr) -> bool {
        self.source == Some(address)
    }
}

/// A running capture.
pub(crate) struct Wire(Capture);

impl Wire {
    pub(crate) fn new(switch: &Namespace) -> Result<Self> {
        Capture::start(switch).map(Self)
    }

    /// What passed since the last time.
    pub(crate) fn take(&self) -> Result<Vec<Passed>> {
        Ok(self.0.take()?.iter().filter_map(passed).collect())
    }
}

fn passed(captured: &Captured) -> Option<Passed> {
    let Captured { at, device, is_incoming, packet } = captured;
    if !is_incoming || packet.protocol != UDP {
        return None;
    }
    let (node, network) = (device.strip_prefix('n')?, device.chars().next_back()?);
    let node = node.trim_end_matches(|last: char| !last.is_ascii_digit()).parse().ok()?;
    let kind = match packet.destination_port {
        _ if packet.source_port == SERVED => Kind::Caller,
        port if packet.destination == IpAddr::V4(SERVER4) => {
            let said = said(&packet.payload)?;
            match port {
                RUNNING => Kind::Running(said),
                NEW => Kind::New(said),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Passed { at: *at, kind, node, source: (network == RIGHT).then_some(packet.source) })
}

/// As the probe writes it.
fn said(payload: &[u8]) -> Option<Said> {
    let mut words = std::str::from_utf8(payload).ok()?.split_whitespace();
    let (pod, number) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
    let source = words.next().and_then(|word| word.parse::<SocketAddr>().ok());
    Some(Said { pod, number, answered: source.map(|source| source.ip().to_canonical()) })
}
