//! Clients that call pods by the Service's address and go on to talk.
//!
//! Guarantees: nodes translate calls as kube-proxy does. Leaves out: its choice among pods; a client is led to a pod that
//! its port names.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use anyhow::Result;
use sortie_testkit::cluster::Cluster;
use sortie_testkit::{Flow, Stream};

use crate::takeover::stage::{PACE, address};

/// Where pods are called; the client's own port tells which pod is meant.
pub(crate) const CALLED: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 5070);

/// Own port of the first client, less those of a node without number.
const FIRST: u16 = 40_000;
/// Clients of a pod.
const CLIENTS: u16 = 1000;

/// Who calls which pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// A pod of a node that stays. It sees the owner's own address: kube-proxy hides clients of pods on other nodes.
    Hidden,
    /// The owner's own pod. It sees the client.
    Plain,
}

impl Client {
    pub(crate) const ALL: [Self; 2] = [Self::Hidden, Self::Plain];

    /// Whose client it is.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hidden => "pod of another node",
            Self::Plain => "pod of the owner",
        }
    }

    /// Own ports of the clients of a pod.
    fn ports(self, pod: usize) -> Result<RangeInclusive<u16>> {
        let group = 2 * u16::try_from(pod)? + u16::from(self == Self::Plain);
        let first = FIRST + group * CLIENTS;
        Ok(first..=first + CLIENTS - 1)
    }

    /// How a node translates calls to a pod.
    fn rule(self, (node, pod): (usize, usize), protocol: &str) -> Result<String> {
        let (to, port, own) = (address(), CALLED.1, self.ports(pod)?);
        let own = format!("{}-{}", own.start(), own.end());
        let (hides, end) = match self {
            Self::Hidden => (HIDE, pod),
            // A call that is new to this node goes to its own pod.
            Self::Plain => ("", node),
        };
        Ok(format!("ip daddr {to} {protocol} dport {port} {protocol} sport {own} {hides} dnat ip to 10.244.{end}.2"))
    }

    /// One, over every transport. Those of other runs have other ports, so that no node remembers it.
    pub(crate) fn call(self, cluster: &Cluster, (pod, run): (usize, usize)) -> Result<Stream> {
        let own = self.ports(pod)?.start() + u16::try_from(run % usize::from(CLIENTS))?;
        let to = SocketAddr::new(address(), CALLED.1);
        Stream::start(&cluster.server, &[Flow::udp(own, to), Flow::tcp(own, to), Flow::sctp(own, to)], PACE)
    }
}

/// What kube-proxy does to a packet whose source is to be hidden.
const HIDE: &str = "meta mark set meta mark or 0x40000000";

/// Rules of a proxy on every node. The nodes check reverse paths loosely, and there is a default route, by which a leak
/// would leave.
pub(crate) fn translate(cluster: &Cluster) -> Result<()> {
    let numbers: Vec<usize> = cluster.nodes.iter().map(|node| node.number).collect();
    for node in &cluster.nodes {
        let mut calls = String::new();
        for (pod, client) in numbers.iter().flat_map(|pod| Client::ALL.map(|client| (*pod, client))) {
            for protocol in ["tcp", "udp", "sctp"] {
                calls += &client.rule((node.number, pod), protocol)?;
                calls.push('\n');
            }
        }
        node.namespace.sysctl("net/ipv4/conf/eth0/rp_filter", "2")?;
        node.namespace.ip("route add default via 172.16.1.1")?;
        node.namespace.nft(&format!(
            "table inet proxy {{
               chain in {{ type nat hook prerouting priority -100;
                 {calls}
               }}
               chain out {{ type nat hook postrouting priority 100; meta mark and 0x40000000 != 0 masquerade; }}
             }}"
        ))?;
    }
    Ok(())
}
