//! A node with two pods and two ways out.
//!
//! ```text
//!  pod   10.244.0.2 ── in1 ┐        ┌ eth0 10.10.0.11  ── first  10.10.0.1  ┐
//!  other 10.244.0.3 ── in2 ┴─ node ─┴ eth1 172.16.1.11 ── second 172.16.1.1 ┴─ outside 192.0.2.10
//! ```
//!
//! Guarantees: strict reverse-path filtering on the node; what a pod sends leaves by `eth0` unless something steers it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sortie_testkit::probe::udp_socket;
use sortie_testkit::{Namespace, Net};

use super::frames::{self, Burst, Ends};
use super::sink::Sink;

/// The far end.
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Its port.
const PORT: u16 = 7000;
/// Flows that run.
const FLOWS: u16 = 64;
/// Own port of the first of them.
const FIRST_PORT: u16 = 20_000;
/// How long a single answer may take.
const ANSWER: Duration = Duration::from_millis(500);
/// How often a flow may try: a packet may be lost while a link address is asked for.
const TRIES: usize = 3;
/// Every pod of the node.
pub(super) const POD_NET: &str = "10.244.0.0/16";
/// Where addresses of Services come from.
pub(super) const ADDRESSES: &str = "198.18.0.0/16";

/// Which pod sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The one that is to leave by `eth1`.
    Selected,
    /// The one nobody cares for.
    Other,
}

impl Who {
    /// Its address.
    pub(super) fn address(self) -> Ipv4Addr {
        match self {
            Self::Selected => Ipv4Addr::new(10, 244, 0, 2),
            Self::Other => Ipv4Addr::new(10, 244, 0, 3),
        }
    }

    fn device(self) -> &'static str {
        match self {
            Self::Selected => "in1",
            Self::Other => "in2",
        }
    }
}

/// How packets are spread over flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flows {
    /// A few that were answered before.
    Running,
    /// Each packet begins one.
    New,
}

impl Flows {
    fn ports(self) -> fn(u32) -> (u16, u16) {
        match self {
            Self::Running => |number| (FIRST_PORT + small(number % u32::from(FLOWS)), PORT),
            Self::New => |number| (1024 + small(number % 60_000), 8000 + small(number / 60_000 % 1000)),
        }
    }
}

/// Of a number that fits.
fn small(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// The namespaces.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) node: Namespace,
    pub(super) outside: Namespace,
    pods: [Namespace; 2],
    net: Net,
}

impl Site {
    /// Nothing on it but forwarding.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub(super) fn new() -> Result<Self> {
        let net = Net::new()?;
        let (node, outside) = (net.namespace("node")?, net.namespace("outside")?);
        for key in ["ip_forward", "conf/all/rp_filter", "conf/default/rp_filter"] {
            node.sysctl(&format!("net/ipv4/{key}"), "1")?;
        }
        let pods = [pod(&net, &node, Who::Selected)?, pod(&net, &node, Who::Other)?];
        outside.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
        outside.sysctl("net/ipv4/conf/default/rp_filter", "0")?;
        node.wire("eth0", (&outside, "first"))?;
        node.wire("eth1", (&outside, "second"))?;
        node.ip("addr add 10.10.0.11/24 dev eth0\naddr add 172.16.1.11/24 dev eth1\nroute add default via 10.10.0.1")?;
        outside.ip(&format!(
            "addr add 10.10.0.1/24 dev first\naddr add 172.16.1.1/24 dev second\naddr add {SERVER}/32 dev lo\n\
             route add {ADDRESSES} via 172.16.1.11\nroute add {POD_NET} via 10.10.0.11"
        ))?;
        Ok(Self { node, outside, pods, net })
    }

    /// Folder and namespaces.
    pub(super) fn net(&self) -> &Net {
        &self.net
    }

    /// Both ways out end in a sink.
    ///
    /// # Errors
    /// When nft refuses.
    pub(super) fn sink(&self) -> Result<Sink> {
        Sink::lay(&self.outside, ["first", "second"])
    }

    /// Nothing gets past the node's own devices.
    ///
    /// # Errors
    /// When nft refuses.
    pub(super) fn sink_on_node(&self) -> Result<Sink> {
        Sink::lay(&self.node, ["in1", "in2"])
    }

    /// Sends from a pod.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn send(&self, who: Who, flows: Flows, limit: Duration) -> Result<Burst> {
        let node = frames::link_address(&self.node, who.device())?;
        let ends = Ends { source: who.address(), destination: SERVER, node };
        frames::send(self.pod(who), ends, limit, flows.ports())
    }

    /// One packet there and back on every flow that is to run.
    ///
    /// # Errors
    /// When an answer is missing.
    pub(super) fn begin(&self, who: Who) -> Result<()> {
        let server = self.outside.with(|| udp_socket(SocketAddr::from((SERVER, PORT))))?;
        server.set_read_timeout(Some(ANSWER))?;
        self.pod(who).with(|| (0..FLOWS).try_for_each(|number| answered(FIRST_PORT + number, &server)))
    }

    /// The node forgets all flows.
    ///
    /// # Errors
    /// When conntrack fails.
    pub(super) fn forget(&self) -> Result<()> {
        self.node.run("conntrack", &["-F"]).map(drop)
    }

    fn pod(&self, who: Who) -> &Namespace {
        &self.pods[usize::from(who == Who::Other)]
    }
}

fn pod(net: &Net, node: &Namespace, who: Who) -> Result<Namespace> {
    let (pod, device, address) = (net.namespace(&format!("pod-{}", who.device()))?, who.device(), who.address());
    node.wire(device, (&pod, "eth0"))?;
    node.ip(&format!("addr add 10.244.0.1/32 dev {device}\nroute add {address} dev {device}"))?;
    pod.ip(&format!("addr add {address}/16 dev eth0\nroute add default via 10.244.0.1"))?;
    Ok(pod)
}

fn answered(port: u16, server: &UdpSocket) -> Result<()> {
    let own = udp_socket(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    own.set_read_timeout(Some(ANSWER))?;
    let mut outcome = exchange(&own, server);
    for _ in 1..TRIES {
        if outcome.is_ok() {
            break;
        }
        outcome = exchange(&own, server);
    }
    outcome
}

fn exchange(own: &UdpSocket, server: &UdpSocket) -> Result<()> {
    own.send_to(b"?", (SERVER, PORT)).context("cannot send")?;
    let mut buffer = [0; 16];
    let (_, from) = server.recv_from(&mut buffer).context("a request did not arrive")?;
    server.send_to(b"!", from).context("cannot answer")?;
    let (length, _) = own.recv_from(&mut buffer).context("an answer did not arrive")?;
    ensure!(buffer[..length] == *b"!", "a strange answer");
    Ok(())
}
