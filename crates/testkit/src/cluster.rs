//! Nodes that share two networks, with a router and a server behind one of them.
//!
//! ```text
//!  n1 eth0 10.10.0.1 ──┐                     n1 eth1 172.16.1.11 ──┐
//!  n2 eth0 10.10.0.2 ──┼ lan (peers)         n2 eth1 172.16.1.12 ──┼ out ── 172.16.1.1 b ── server 192.0.2.10
//!  n3 eth0 10.10.0.3 ──┘                     n3 eth1 172.16.1.13 ──┘
//! ```
//!
//! The same in IPv6: fd00:10::n, fd00:16::1n, 2001:db8:c0::10. Each node has a pod, 10.244.n.2 and fd00:244:n::2, older
//! than the helper; pods reach each other as [`PodNetwork`] says. Both networks are bridges of one namespace, the switch,
//! whose ports `n1l`, `n1o`, ... tell which node sent a packet. Leaves out: CNI.

mod wiring;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::capture::Captured;
use crate::command;
use crate::echo::{Door, Echo};
use crate::kernel;
use crate::net::{Namespace, Net};
use crate::process::Process;
use crate::programs;
use crate::wait::poll;

pub use wiring::PodNetwork;

/// Where the server listens.
pub const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 10), 7000);
/// The same in IPv6.
pub const SERVER6: (Ipv6Addr, u16) = (Ipv6Addr::new(0x2001, 0xdb8, 0xc0, 0, 0, 0, 0, 0x10), 7000);
/// Shortest time after which a node may own again.
const AGAIN: Duration = Duration::from_millis(200);
/// Longest time for an orderly end.
const END: Duration = Duration::from_secs(30);

/// The topology with its helpers.
#[derive(Debug)]
pub struct Cluster {
    /// In the order of their numbers, from 1.
    pub nodes: Vec<ClusterNode>,
    /// Both networks.
    pub switch: Namespace,
    /// The router `b`.
    pub router: Namespace,
    /// The server.
    pub server: Namespace,
    _echo: Echo,
    net: Net,
}

/// One node.
#[derive(Debug)]
pub struct ClusterNode {
    /// Its number.
    pub number: usize,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its pod.
    pub pod: Namespace,
    helper: Option<Process>,
}

impl Cluster {
    /// Builds it with this many nodes, without helpers.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub fn new(count: usize) -> Result<Self> {
        Self::over(PodNetwork::Routed, count)
    }

    /// As [`Cluster::new`], with another network of pods.
    ///
    /// # Errors
    /// As [`Cluster::new`].
    pub fn over(pods: PodNetwork, count: usize) -> Result<Self> {
        let net = Net::new()?;
        let (switch, router, server) = wiring::far(&net)?;
        let nodes = (1..=count).map(|number| wiring::node(&net, &switch, number)).collect::<Result<Vec<_>>>()?;
        pods.lay(&nodes)?;
        let door = |at| Door { label: "b".to_owned(), device: None, at };
        let echo = Echo::start(&server, &[door(SERVER.into()), door(SERVER6.into())])?;
        let cluster = Self { nodes, switch, router, server, _echo: echo, net };
        cluster.key(&[7; 32])?;
        Ok(cluster)
    }

    /// Writes the helpers' key.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn key(&self, key: &[u8]) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(self.path("key"), key)?;
        Ok(std::fs::set_permissions(self.path("key"), std::fs::Permissions::from_mode(0o600))?)
    }

    /// Writes a manifest for all nodes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn manifest(&self, name: &str, text: &str) -> Result<()> {
        let folder = self.net.scratch().folder("manifests")?;
        let temporary = folder.join(format!(".{name}.new"));
        std::fs::write(&temporary, text)?;
        Ok(std::fs::rename(temporary, folder.join(name))?)
    }

    /// Starts the helper of the node with this number; ready is not waited for.
    ///
    /// # Errors
    /// When it is not built.
    pub fn start(&mut self, number: usize) -> Result<()> {
        self.start_with(number, &[])
    }

    /// As [`Cluster::start`], with more flags. One that runs is killed.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_with(&mut self, number: usize, flags: &[&str]) -> Result<()> {
        let mut command = Command::new(programs::ours("sortie-helper")?);
        command.args(["run", "--log-level", "debug", "--node", &format!("n{number}"), "--manifests"]);
        command.arg(self.net.scratch().folder("manifests")?);
        command.arg("--state-dir").arg(self.net.scratch().folder(&format!("state{number}"))?);
        command.arg("--socket").arg(self.socket(number)).arg("--peer-key-file").arg(self.path("key")).args(flags);
        let log = self.path(&format!("helper{number}.log"));
        let node = &mut self.nodes[number - 1];
        node.helper = None;
        node.helper = Some(Process::start(&node.namespace, &mut command, &log)?);
        Ok(())
    }

    /// Sends a signal to the helper of a node.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, number: usize, signal: Signal) -> Result<()> {
        self.nodes[number - 1].helper.as_ref().context("no helper")?.signal(signal)
    }

    /// Ends the helper of a node in order.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self, number: usize) -> Result<()> {
        let helper = self.nodes[number - 1].helper.as_mut().context("no helper")?;
        helper.signal(Signal::SIGTERM)?;
        helper.wait(END).map(drop)
    }

    /// Removes everything of ours from a node whose helper has ended.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn uninstall(&self, number: usize) -> Result<()> {
        let mut command = Command::new(programs::ours("sortie-helper")?);
        command.arg("uninstall").arg("--socket").arg(self.socket(number));
        command.arg("--state-dir").arg(self.net.scratch().folder(&format!("state{number}"))?);
        let mut child = self.nodes[number - 1].namespace.spawn(&mut command)?;
        anyhow::ensure!(child.wait()?.success(), "uninstall failed");
        Ok(())
    }

    /// `status -o json` of a node.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self, number: usize) -> Result<Value> {
        let mut ask = Command::new(programs::ours("sortie-helper")?);
        ask.args(["status", "-o", "json", "--socket"]).arg(self.socket(number));
        let text = command::text(&mut ask, "")?;
        serde_json::from_str(&text).with_context(|| format!("status is no JSON: {text}"))
    }

    /// Waits until all these nodes name the same one of them as owner of the first Service, and returns its number.
    ///
    /// # Errors
    /// When they do not agree in time; with what the helpers said.
    pub fn await_owner(&self, numbers: &[usize], limit: Duration) -> Result<usize> {
        let owner = |number: usize| {
            let name = self.status(number).ok()?["addresses"][0]["owner"].as_str()?.to_owned();
            name.strip_prefix('n')?.parse::<usize>().ok()
        };
        poll(limit, "the nodes to agree on an owner", || {
            let first = owner(*numbers.first()?)?;
            (numbers.contains(&first) && numbers.iter().all(|number| owner(*number) == Some(first))).then_some(first)
        })
        .with_context(|| self.logs())
    }

    /// What the helpers said last, and what they are doing.
    #[must_use]
    pub fn logs(&self) -> String {
        let tail = |text: String| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(80)..].join("\n")
        };
        let log = |node: &ClusterNode| {
            let said = node.helper.as_ref().map(Process::log).unwrap_or_default();
            let threads = node.helper.as_ref().map(Process::threads).unwrap_or_default();
            let counted = kernel::counted(&node.namespace);
            format!("--- helper of n{}\n{}\n{threads}{counted}\n", node.number, tail(said))
        };
        let logs: String = self.nodes.iter().map(log).collect();
        format!("{logs}--- now {:?}\n", std::time::SystemTime::now())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.net.scratch().path().join(name)
    }

    /// Where the socket of a node's helper is.
    #[must_use]
    pub fn socket(&self, number: usize) -> PathBuf {
        self.path(&format!("helper{number}.sock"))
    }
}

impl ClusterNode {
    /// Its address on the outer network.
    #[must_use]
    pub fn outer(&self) -> IpAddr {
        Ipv4Addr::new(172, 16, 1, u8::try_from(10 + self.number).unwrap_or(u8::MAX)).into()
    }
}

/// How often a node sent with an address less than 200 ms after another one had begun to: an address may come back, but
/// not as fast as two senders alternate.
#[must_use]
pub fn overlaps(captured: &[Captured], address: IpAddr) -> usize {
    alternations(captured, address).len()
}

/// For how long at most nodes sent with an address by turns: from the first packet of the second one to the last of
/// whoever stopped first.
#[must_use]
pub fn overlap(captured: &[Captured], address: IpAddr) -> Duration {
    let (mut began, mut last, mut longest) = (None, None, Duration::ZERO);
    for (since, at) in alternations(captured, address) {
        let first = began.filter(|_| last == Some(since)).unwrap_or(since);
        (began, last) = (Some(first), Some(at));
        longest = longest.max(at - first);
    }
    longest
}

/// Since when another node had sent, and when the one before it did again.
fn alternations(captured: &[Captured], address: IpAddr) -> Vec<(Instant, Instant)> {
    let mut sent: Vec<&Captured> =
        captured.iter().filter(|c| c.is_incoming && c.device.ends_with('o') && c.packet.source == address).collect();
    sent.sort_by_key(|c| c.at);
    let (mut now, mut before) = (None::<(&str, Instant)>, "");
    let mut found = Vec::new();
    for c in sent.into_iter().filter(|c| c.device != "bo") {
        match now {
            Some((device, _)) if device == c.device => {}
            Some((device, since)) => {
                found.extend((c.device == before && c.at - since < AGAIN).then_some((since, c.at)));
                (now, before) = (Some((c.device.as_str(), c.at)), device);
            }
            None => now = Some((c.device.as_str(), c.at)),
        }
    }
    found
}

/// Manifests of the nodes and their pods, the route `b`, a pool on the outer network and the Service `sip`.
#[must_use]
pub fn manifests(count: usize) -> String {
    let node = |n: usize| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n{n}, annotations: {{sortie.dev/node-number: '{n}'}}}}\n\
             spec: {{podCIDRs: [10.244.{n}.0/24, 'fd00:244:{n}::/64']}}\n\
             status: {{addresses: [{{type: InternalIP, address: 10.10.0.{n}}}, {{type: InternalIP, address: 'fd00:10::{n}'}}]}}\n---\n\
             apiVersion: v1\nkind: Pod\nmetadata: {{name: sip-{n}, namespace: default, labels: {{app: sip}}}}\n\
             spec: {{nodeName: n{n}}}\nstatus: {{podIPs: [{{ip: 10.244.{n}.2}}, {{ip: 'fd00:244:{n}::2'}}]}}\n---\n"
        )
    };
    let nodes: String = (1..=count).map(node).collect();
    nodes
        + "apiVersion: sortie.dev/v1alpha1\nkind: ServiceOutboundRoute\nmetadata: {name: b}\n\
           spec: {nextHops: [{gateway: 172.16.1.1, device: eth1}, {gateway: 'fd00:16::1', device: eth1}], allowedNamespaces: {from: All}}\n---\n\
           apiVersion: sortie.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: outer}\n\
           spec: {addresses: [172.16.1.200-172.16.1.209, 'fd00:16::200-fd00:16::209'], devices: [eth1], allowedNamespaces: {from: All}}\n---\n\
           apiVersion: v1\nkind: Service\n\
           metadata: {name: sip, namespace: default, annotations: {sortie.dev/route: b, sortie.dev/addresses: '172.16.1.200,fd00:16::200'}}\n\
           spec: {type: LoadBalancer, loadBalancerClass: sortie.dev/vip, selector: {app: sip}, \
             ipFamilies: [IPv4, IPv6], ports: [{name: u, protocol: UDP, port: 5060}, {name: p, protocol: UDP, port: 5062}, {name: t, protocol: TCP, port: 5060}, \
             {name: s, protocol: SCTP, port: 2905}]}\n"
}
