//! Three nodes with helpers and kube-proxies, and an API server that the latter read.
//!
//! The helpers have their objects from a folder. The API server is on the network the nodes talk over.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use sortie_testkit::cluster::{Cluster, ClusterNode, manifests};
use sortie_testkit::kube::{ApiServer, Kubectl, Proxy, Scope};
use sortie_testkit::scratch::Scratch;
use sortie_testkit::{Capture, Captured, Process, until};

use super::service::{self, Policy};
use super::stage::{AGREE, COUNT, everybody, pod_address, running, vips};

const API: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 100);
/// The client's port in the first round; each has its own, as connection tracking keeps what it decided. Programs of the
/// cluster get theirs from 32 768 on.
const CLIENT: u16 = 25_000;
/// How often an address may move while something is looked at.
const ROUNDS: usize = 5;

pub(crate) struct Stage {
    pub(crate) owner: usize,
    /// Nodes whose helper runs.
    pub(crate) well: Vec<usize>,
    mode: Proxy,
    round: u16,
    began: Instant,
    kubectl: Kubectl,
    proxies: Vec<Process>,
    _api: ApiServer,
    pub(crate) capture: Capture,
    pub(crate) cluster: Cluster,
    _scratch: Scratch,
}

impl Stage {
    /// Everything runs and the nodes agree on an owner; there is no Service in the API yet.
    pub(crate) fn new(mode: Proxy) -> Result<Self> {
        let (began, scratch) = (Instant::now(), Scratch::new()?);
        let (cluster, capture) = running(&manifests(COUNT))?;
        // The clients' addresses where the nodes talk, too.
        cluster.switch.ip(&format!(
            "addr add {API}/24 dev lan\naddr add 10.10.0.99/24 dev lan\n-6 addr add fd00:10::99/64 dev lan nodad"
        ))?;
        let api = ApiServer::start(&cluster.switch, &scratch.folder("api")?, Scope::Cluster(API.into()))?;
        let kubectl = api.kubectl()?;
        kubectl.apply(&service::nodes())?;
        let start = |node: &ClusterNode| {
            let name = format!("n{}", node.number);
            mode.start(&node.namespace, (&name, &scratch.folder(&name)?), &api)
        };
        let proxies = cluster.nodes.iter().map(start).collect::<Result<Vec<_>>>()?;
        let well = everybody(&cluster);
        let owner = cluster.await_owner(&well, AGREE)?;
        let (round, _api, _scratch) = (0, api, scratch);
        let stage = Self { owner, well, mode, round, began, kubectl, proxies, _api, capture, cluster, _scratch };
        stage.says("nodes, API server and proxies");
        Ok(stage)
    }

    /// Another Service in place of the last one, with one pod, until every node translates it.
    pub(crate) fn offer(&mut self, policy: Policy, pod: usize) -> Result<()> {
        let before = self.name();
        if self.round > 0 {
            self.kubectl.run(&["delete", "service", &before])?;
            self.kubectl.run(&["delete", "endpointslices", "-l", &format!("kubernetes.io/service-name={before}")])?;
        }
        self.round += 1;
        let name = self.name();
        self.kubectl.apply(&service::service(&name, policy))?;
        let patch = ["patch", "service", &name, "--subresource=status", "--type=merge", "-p", &service::status()];
        self.kubectl.run(&patch)?;
        self.kubectl.apply(&service::slices(&name, pod))?;
        for (node, vip) in self.cluster.nodes.iter().flat_map(|node| vips().map(|vip| (node, vip))) {
            let words = [vip.to_string(), SocketAddr::new(pod_address(pod, vip), 5060).to_string()];
            let done = || words.iter().all(|word| self.has(node, vip, [&name, word]));
            until(AGREE, "rules of kube-proxy", done).with_context(|| self.account())?;
        }
        self.capture.clear()
    }

    /// What holds at an owner. On a busy machine an address may move meanwhile; then it is looked at again.
    pub(crate) fn steadily(&mut self, look: impl Fn(&mut Self) -> Result<()>) -> Result<()> {
        for _ in 0..ROUNDS {
            self.owner = self.cluster.await_owner(&self.well, AGREE)?;
            let looked = look(self);
            if self.cluster.await_owner(&self.well, AGREE)? == self.owner {
                return looked;
            }
            self.says(&format!("the address left n{} meanwhile: {looked:?}", self.owner));
        }
        bail!("the address does not stay at a node")
    }

    /// The client's port in this round.
    pub(crate) fn port(&self) -> u16 {
        CLIENT + self.round
    }

    /// Ports of the switch, and sources, of what the nodes sent by the routes' devices to the client's port.
    pub(crate) fn answers(&self) -> Result<Vec<(String, IpAddr)>> {
        let outward = |c: &Captured| {
            c.is_incoming
                && c.packet.destination_port == self.port()
                && c.device.starts_with('n')
                && c.device.ends_with('o')
        };
        let mut list: Vec<_> =
            self.capture.packets()?.into_iter().filter(outward).map(|c| (c.device, c.packet.source)).collect();
        list.sort();
        list.dedup();
        Ok(list)
    }

    pub(crate) fn says(&self, what: &str) {
        eprintln!("{:>7} ms  {:?}: {what}", self.began.elapsed().as_millis(), self.mode);
    }

    /// What a person would look at after a failure.
    pub(crate) fn account(&self) -> String {
        let rules = |node: &ClusterNode| {
            let text = vips().map(|vip| self.rules(node, vip).unwrap_or_else(|error| format!("{error:#}")));
            format!("--- rules of n{}\n{}\n", node.number, text.concat())
        };
        let rules: String = self.cluster.nodes.iter().map(rules).collect();
        let logs: String = self.proxies.iter().map(Process::log).collect();
        format!("{}{rules}{logs}", self.cluster.logs())
    }

    /// Whether a rule, or a chain or map of nft, has these words.
    fn has(&self, node: &ClusterNode, like: IpAddr, words: [&str; 2]) -> bool {
        let (text, parts) =
            (self.rules(node, like).unwrap_or_default(), if self.mode == Proxy::Iptables { "-A " } else { "chain " });
        text.split(parts).any(|part| words.iter().all(|word| part.contains(word)))
    }

    /// Of kube-proxy on a node, in the family of an address.
    fn rules(&self, node: &ClusterNode, like: IpAddr) -> Result<String> {
        let (program, words): (_, &[&str]) = match (self.mode, like.is_ipv4()) {
            (Proxy::Iptables, true) => ("iptables-save", &[]),
            (Proxy::Iptables, false) => ("ip6tables-save", &[]),
            (Proxy::Nftables, true) => ("nft", &["list", "table", "ip", "kube-proxy"]),
            (Proxy::Nftables, false) => ("nft", &["list", "table", "ip6", "kube-proxy"]),
        };
        node.namespace.run(program, words)
    }

    fn name(&self) -> String {
        format!("sip-{}", self.round)
    }
}
