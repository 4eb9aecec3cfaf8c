//! What the cluster stands in: two networks, three routers, a server behind all of them.
//!
//! ```text
//!  api eth0 10.10.0.2  ──┐
//!  n1  eth0 10.10.0.11 ──┼ lan ── 10.10.0.1  a (default) ──┐
//!  n2  eth0 10.10.0.12 ──┘                                 ├── server 192.0.2.10, 2001:db8:2::10
//!  n1  eth1 172.16.1.11 ─┬ out ┬─ 172.16.1.1 b ────────────┤
//!  n2  eth1 172.16.1.12 ─┘     └─ 172.16.1.2 c ────────────┘
//! ```
//!
//! Addresses of version 6 are alike: fd00:10::11 and fd00:16::11 for n1. Pods of n1 are 10.244.1.0/24 and
//! fd00:244:1::/64; the nodes have routes to each other's pods, and hide them behind themselves towards everybody else.
//! Ports of the switch `n1l`, `n1o`, ... tell which node sent a packet. Guarantees: the server says by which router a
//! request came. Leaves out: what runs on the nodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::echo::Echo;
use crate::lab::{GATEWAY4, GATEWAY6, ROUTERS, doors, wiring};
use crate::net::{Namespace, Net};
use crate::switch;

/// Where the API server is.
pub(super) const API: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 10, 0, 2)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 2))];
/// The routers' addresses towards the nodes.
pub const GATEWAYS: [(Ipv4Addr, Ipv6Addr); 3] = [
    (GATEWAY4[0], GATEWAY6[0]),
    (GATEWAY4[1], GATEWAY6[1]),
    (Ipv4Addr::new(172, 16, 1, 2), Ipv6Addr::new(0xfd00, 0x16, 0, 0, 0, 0, 0, 2)),
];
/// All pods.
pub(super) const PODS: [&str; 2] = ["10.244.0.0/16", "fd00:244::/32"];

/// Namespaces and wires.
#[derive(Debug)]
pub struct Site {
    /// Both networks, `lan` and `out`.
    pub switch: Namespace,
    /// `a`, the default gateway, `b` and `c`.
    pub routers: [Namespace; 3],
    /// The server, which answers on [`crate::lab::PORTS`].
    pub server: Namespace,
    pub(super) api: Namespace,
    count: usize,
    _echo: Echo,
    net: Net,
}

/// Addresses of a node, by its number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub usize);

impl Place {
    /// On the network `lan`.
    #[must_use]
    pub fn inner(self) -> [IpAddr; 2] {
        [Ipv4Addr::new(10, 10, 0, self.last()).into(), self.six(0x10).into()]
    }

    /// On the network `out`.
    #[must_use]
    pub fn outer(self) -> [IpAddr; 2] {
        [Ipv4Addr::new(172, 16, 1, self.last()).into(), self.six(0x16).into()]
    }

    /// Of its pods.
    pub(super) fn pods(self) -> [String; 2] {
        [format!("10.244.{}.0/24", self.0), format!("fd00:244:{}::/64", self.0)]
    }

    fn last(self) -> u8 {
        u8::try_from(10 + self.0).unwrap_or(u8::MAX)
    }

    fn six(self, net: u16) -> Ipv6Addr {
        // Reads like the last number of version 4: fd00:10::12 for 10.10.0.12.
        Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, 0x10 + u16::try_from(self.0).unwrap_or(u16::MAX - 0x10))
    }
}

impl Site {
    /// Everything but the nodes, of which there will be `count`.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub(super) fn new(count: usize) -> Result<Self> {
        let net = Net::new()?;
        let switch = switch::new(&net)?;
        let routers = [net.namespace("a")?, net.namespace("b")?, net.namespace("c")?];
        let (server, api) = (net.namespace("server")?, net.namespace("api")?);
        wiring::server(&server)?;
        for (index, router) in routers.iter().enumerate() {
            let port = [("router-a", "lan"), ("router-b", "out"), ("router-c", "out")][index];
            switch::plug(&switch, port, (router, "node"))?;
            wiring::far(index, GATEWAYS[index], (router, &server))?;
        }
        let echo = Echo::start(&server, &doors(&ROUTERS))?;
        let site = Self { switch, routers, server, api, count, _echo: echo, net };
        switch::plug(&site.switch, ("api", "lan"), (&site.api, "eth0"))?;
        let routes = site.routes(None);
        site.api.ip(&format!("addr add {}/24 dev eth0\naddr add {}/64 dev eth0 nodad\n{routes}", API[0], API[1]))?;
        Ok(site)
    }

    /// The namespaces and the folder it is made of.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The network of a node that boots.
    pub(super) fn plug(&self, place: Place) -> Result<Namespace> {
        let (number, [in4, in6], [out4, out6]) = (place.0, place.inner(), place.outer());
        let node = self.net.namespace(&format!("n{number}"))?;
        wiring::node(&node)?;
        switch::plug(&self.switch, (&format!("n{number}l"), "lan"), (&node, "eth0"))?;
        switch::plug(&self.switch, (&format!("n{number}o"), "out"), (&node, "eth1"))?;
        // A machine keeps its hardware addresses; its neighbours remember them over a boot.
        node.ip(&format!(
            "link set dev eth0 address 02:50:4f:00:00:{number:02x}\nlink set dev eth1 address 02:50:4f:00:01:{number:02x}\n\
             addr add {in4}/24 dev eth0\naddr add {in6}/64 dev eth0 nodad\n\
             addr add {out4}/24 dev eth1\naddr add {out6}/64 dev eth1 nodad\n{}",
            self.routes(Some(place))
        ))?;
        node.nft(&hiding())?;
        Ok(node)
    }

    /// To the pods of all other nodes, and to everybody else by `a`.
    fn routes(&self, own: Option<Place>) -> String {
        let others = (1..=self.count).map(Place).filter(|place| Some(*place) != own);
        let mut lines: Vec<String> = others
            .map(|place| {
                let ([pods4, pods6], [via4, via6]) = (place.pods(), place.inner());
                format!("route add {pods4} via {via4}\n-6 route add {pods6} via {via6}")
            })
            .collect();
        lines.push(format!("route add default via {}\n-6 route add default via {}", GATEWAY4[0], GATEWAY6[0]));
        lines.join("\n")
    }
}

/// Pods have the node's address outside the cluster. After everybody else's translation, so that one of another kind
/// wins; not by the bridge plugin, which would hide pods from pods.
fn hiding() -> String {
    let [pods4, pods6] = PODS;
    format!(
        "table inet hide {{ chain out {{ type nat hook postrouting priority 101;
            ip saddr {pods4} ip daddr != {{ {pods4}, 10.10.0.0/24, 224.0.0.0/4 }} masquerade
            ip6 saddr {pods6} ip6 daddr != {{ {pods6}, fd00:10::/64, ff00::/8 }} masquerade
        }}
        }}"
    )
}
