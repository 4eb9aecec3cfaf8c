//! A node with three routers and a server behind all of them.
//!
//! ```text
//!            eth0 10.10.0.11  ──► a 10.10.0.1  (default) ──┐
//!  node ──►  eth1 172.16.1.11 ──► b 172.16.1.1           ──┼──► server 192.0.2.10, 2001:db8:2::10
//!            eth2 172.16.2.11 ──► c 172.16.2.1           ──┘
//! ```
//!
//! Guarantees: strict reverse-path filtering on every device of the node; the server answers by the router the request
//! came by, also to addresses of pods, so that a leak arrives and is counted. Leaves out: pods and our own programs.

pub(crate) mod wiring;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::echo::{Door, Echo};
use crate::flow::{Flow, Seen};
use crate::net::{Mounts, Namespace, Net, memory};
use crate::probe::probe;

/// Address of the server.
pub const SERVER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Address of the server.
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);
/// Ports of the server, on UDP, TCP and SCTP.
pub const PORTS: [u16; 3] = [7000, 7001, 7002];
/// The routers, in the order of the node's devices `eth0`, `eth1`, `eth2`.
pub const ROUTERS: [&str; 3] = ["a", "b", "c"];
/// The node's own addresses towards each router.
pub const NODE4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 10, 0, 11), Ipv4Addr::new(172, 16, 1, 11), Ipv4Addr::new(172, 16, 2, 11)];
/// The node's own addresses towards each router.
pub const NODE6: [Ipv6Addr; 3] = [v6(0x10, 0x11), v6(0x16, 0x11), v6(0x17, 0x11)];
/// The routers' addresses towards the node.
pub const GATEWAY4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 10, 0, 1), Ipv4Addr::new(172, 16, 1, 1), Ipv4Addr::new(172, 16, 2, 1)];
/// The routers' addresses towards the node.
pub const GATEWAY6: [Ipv6Addr; 3] = [v6(0x10, 1), v6(0x16, 1), v6(0x17, 1)];
/// A client behind each router; the address is on the router itself.
pub const CLIENT4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(198, 51, 100, 10), Ipv4Addr::new(198, 51, 101, 10), Ipv4Addr::new(198, 51, 102, 10)];
/// A client behind each router.
pub const CLIENT6: [Ipv6Addr; 3] = [far(0xa), far(0xb), far(0xc)];
/// The pods' network on the node.
pub const POD_NET4: &str = "10.244.1.0/24";
/// The pods' network on the node.
pub const POD_NET6: &str = "fd00:244:1::/64";
/// Where addresses of Services come from; every router knows it behind the node.
pub const VIP_NET4: &str = "203.0.113.0/24";
/// Where addresses of Services come from.
pub const VIP_NET6: &str = "2001:db8:f::/64";
/// Every device of the node.
pub const DEVICES: [&str; 3] = ["eth0", "eth1", "eth2"];

/// How long an answer may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// How long nothing is waited for.
pub const SILENCE: Duration = Duration::from_millis(300);

const fn v6(net: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, host)
}

const fn far(net: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, 0x10)
}

/// The server's IPv4 address with a port.
#[must_use]
pub fn server4(port: u16) -> SocketAddr {
    (SERVER4, port).into()
}

/// The server's IPv6 address with a port.
#[must_use]
pub fn server6(port: u16) -> SocketAddr {
    (SERVER6, port).into()
}

/// Both.
#[must_use]
pub fn servers(port: u16) -> [SocketAddr; 2] {
    [server4(port), server6(port)]
}

/// The topology.
#[derive(Debug)]
pub struct Lab {
    /// The node, with `/var/lib` of its own.
    pub node: Namespace,
    /// The routers, as in [`ROUTERS`].
    pub routers: [Namespace; 3],
    /// The server.
    pub server: Namespace,
    _echo: Echo,
    net: Net,
}

impl Lab {
    /// Builds it; everything answers.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub fn new() -> Result<Self> {
        let net = Net::new()?;
        let mounts = Mounts::new(|| memory(Path::new("/var/lib"), "mode=755"))?;
        let node = net.namespace("node")?.with_mounts(mounts);
        let routers = [net.namespace("a")?, net.namespace("b")?, net.namespace("c")?];
        let server = net.namespace("server")?;
        wiring::node(&node)?;
        wiring::server(&server)?;
        for (index, router) in routers.iter().enumerate() {
            wiring::router(index, router, (&node, &server))?;
        }
        let echo = Echo::start(&server, &doors(&ROUTERS))?;
        Ok(Self { node, routers, server, _echo: echo, net })
    }

    /// The namespaces and the folder it is made of.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The router called `a`, `b` or `c`.
    #[must_use]
    pub fn router(&self, name: &str) -> &Namespace {
        let index = ROUTERS.iter().position(|router| *router == name).unwrap_or(0);
        &self.routers[index]
    }

    /// A path in the folder of the test.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.net.scratch().path().join(name)
    }

    /// Writes a file into the folder of manifests, whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn manifest(&self, name: &str, text: &str) -> Result<()> {
        let folder = self.net.scratch().folder("manifests")?;
        let (temporary, path) = (folder.join(format!(".{name}.new")), folder.join(name));
        std::fs::write(&temporary, text).with_context(|| format!("cannot write {}", temporary.display()))?;
        std::fs::rename(&temporary, &path).with_context(|| format!("cannot rename to {}", path.display()))
    }

    /// Removes a file from the folder of manifests.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove_manifest(&self, name: &str) -> Result<()> {
        let path = self.path("manifests").join(name);
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// What the server says about one request; nothing when there is no answer within [`PATIENCE`].
    ///
    /// # Errors
    /// When the own port cannot be used.
    pub fn ask(&self, from: &Namespace, flow: Flow) -> Result<Option<Seen>> {
        probe(from, flow, PATIENCE)
    }

    /// What a person would look at after a failure.
    #[must_use]
    pub fn describe(&self) -> String {
        let commands: [&[&str]; 6] = [
            &["ip", "rule"],
            &["ip", "-6", "rule"],
            &["ip", "route", "show", "table", "all"],
            &["ip", "-6", "route", "show", "table", "all"],
            &["nft", "list", "table", "inet", "sortie"],
            &["conntrack", "-L", "-o", "extended"],
        ];
        let mut text = String::new();
        for command in commands {
            let said = self.node.run(command[0], &command[1..]).unwrap_or_else(|error| format!("{error:#}"));
            text += &format!("--- {}\n{said}\n", command.join(" "));
        }
        for name in ["helper.log", "plugin.log"] {
            text += &format!("--- {name}\n{}\n", std::fs::read_to_string(self.path(name)).unwrap_or_default());
        }
        text
    }
}

/// Every router's door at the server, on all ports in both families.
pub(crate) fn doors(routers: &[&str]) -> Vec<Door> {
    let mut doors = Vec::new();
    for router in routers {
        for port in PORTS {
            for address in [IpAddr::V4(SERVER4), IpAddr::V6(SERVER6)] {
                let at = SocketAddr::new(address, port);
                doors.push(Door { label: (*router).to_owned(), device: Some((*router).to_owned()), at });
            }
        }
    }
    doors
}
