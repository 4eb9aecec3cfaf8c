//! A whole cluster.
//!
//! Guarantees: after [`Cluster::start`] every node is Ready and a pod can be made; what is waited for ends with a
//! deadline and then says what nodes and pods said. Leaves out: what runs in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use super::apiserver::{ApiServer, Scope};
use super::controllers;
use super::host::Host;
use super::kubectl::{Kubectl, list};
use super::node::Node;
use super::proxy::Proxy;
use super::site::{API, Place, Site};
use crate::containerd::IMAGE;
use crate::image;
use crate::process::Process;
use crate::wait::until;

/// How long nodes may take to be Ready on a busy machine.
const READY: Duration = Duration::from_secs(120);
/// How long pods may take.
const PODS: Duration = Duration::from_secs(400);

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Number of nodes.
    pub nodes: usize,
    /// How Services are translated.
    pub proxy: Proxy,
    /// Program of the image [`IMAGE`], which every node has: at `/<its name>`, with the word `pause` when a pod names no
    /// other. It is also the first container of every pod.
    pub program: PathBuf,
}

impl Setup {
    /// Three nodes with iptables.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        Self { nodes: 3, proxy: Proxy::default(), program: program.to_path_buf() }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// In the order of their numbers, from 1.
    pub nodes: Vec<Node>,
    proxy: Proxy,
    _controllers: [Process; 2],
    /// Its API server.
    pub api: ApiServer,
    /// Everything around the nodes.
    pub site: Site,
    _host: Host,
}

impl Cluster {
    /// Starts it and waits until every node is Ready.
    ///
    /// # Errors
    /// When something does not start; with its log.
    pub fn start(setup: &Setup) -> Result<Self> {
        let host = Host::take()?;
        let site = Site::new(setup.nodes)?;
        let folder = site.net().scratch().folder("api")?;
        let archive = base(&site, &setup.program)?;
        let place = |place: Place| {
            let disk = site.net().scratch().path().join(format!("n{}", place.0));
            Node::new(place, site.plug(place)?, disk)
        };
        let mut nodes = (1..=setup.nodes).map(Place).map(place).collect::<Result<Vec<_>>>()?;
        let api = std::thread::scope(|scope| {
            let api = scope.spawn(|| ApiServer::start(&site.api, &folder, Scope::Cluster(API[0])));
            each(&mut nodes, |node| {
                node.boot()?;
                node.import(&archive)
            })?;
            api.join().map_err(|_| anyhow!("the start of the API server panicked"))?
        })?;
        api.kubectl()?.apply(&objects(&nodes))?;
        let controllers = controllers::start(&api, &site.api, &folder)?;
        let mut cluster = Self { nodes, proxy: setup.proxy, _controllers: controllers, api, site, _host: host };
        let (api, proxy) = (&cluster.api, cluster.proxy);
        each(&mut cluster.nodes, |node| node.join(api, proxy))?;
        cluster.await_ready()?;
        Ok(cluster)
    }

    /// kubectl of the administrator.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn kubectl(&self) -> Result<Kubectl> {
        self.api.kubectl()
    }

    /// The node with this number.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, number: usize) -> Result<&Node> {
        self.nodes.get(number.wrapping_sub(1)).with_context(|| format!("no node {number}"))
    }

    /// Packs the folder `root` as the image `name` that runs `words`, and takes it in on every node. Pods use it with
    /// `imagePullPolicy: IfNotPresent`; the same name again replaces it for new pods.
    ///
    /// # Errors
    /// When it cannot be packed, or a node is off.
    pub fn load(&mut self, root: &Path, image: (&str, &[&str])) -> Result<()> {
        let archive = self.site.net().scratch().path().join("load.tar");
        image::pack(root, image, &archive)?;
        each(&mut self.nodes, |node| node.import(&archive))
    }

    /// The node with this number, to kill or start a program of it.
    ///
    /// # Errors
    /// When there is none.
    pub fn node_mut(&mut self, number: usize) -> Result<&mut Node> {
        self.nodes.get_mut(number.wrapping_sub(1)).with_context(|| format!("no node {number}"))
    }

    /// Cuts the power of a node.
    ///
    /// # Errors
    /// When there is none with this number.
    pub fn cut(&mut self, number: usize) -> Result<()> {
        let node = self.nodes.get_mut(number.wrapping_sub(1)).with_context(|| format!("no node {number}"))?;
        node.cut();
        self.site.net().remove(&node.network);
        Ok(())
    }

    /// Boots a node whose power was cut: the same disk, another network. Ready is not waited for.
    ///
    /// # Errors
    /// When something does not start.
    pub fn boot(&mut self, number: usize) -> Result<()> {
        let node = self.nodes.get_mut(number.wrapping_sub(1)).with_context(|| format!("no node {number}"))?;
        node.network = self.site.plug(node.place)?;
        node.boot()?;
        node.join(&self.api, self.proxy)
    }

    /// Waits until every node is Ready and a pod can be made.
    ///
    /// # Errors
    /// When it takes too long; with what the nodes said.
    pub fn await_ready(&self) -> Result<()> {
        let kubectl = self.kubectl()?;
        let is_ready = |node: &Value| {
            let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
            conditions.clone().any(|one| one["type"] == "Ready" && one["status"] == "True")
        };
        let all = || kubectl.get(&["nodes"]).ok()?["items"].as_array().map(|nodes| nodes.iter().all(is_ready));
        until(READY, "nodes that are Ready", || all() == Some(true)).with_context(|| self.logs())?;
        // A pod that comes before them waits for seconds.
        let needed = ["serviceaccount/default", "configmap/kube-root-ca.crt"];
        until(READY, "what every pod needs", || kubectl.get(&needed).is_ok())
    }

    /// Waits until all pods of a Deployment or DaemonSet are there: `deployment/web`, and `--namespace` if it is another.
    ///
    /// # Errors
    /// When it takes too long; with what pods and nodes said.
    pub fn rolled_out(&self, what: &[&str]) -> Result<()> {
        self.wait(&["rollout", "status"], what)
    }

    /// Waits for a condition of an object, `Ready` of `pod/one` for example.
    ///
    /// # Errors
    /// When it takes too long; with what pods and nodes said.
    pub fn holds(&self, condition: &str, what: &[&str]) -> Result<()> {
        self.wait(&["wait", &format!("--for=condition={condition}")], what)
    }

    fn wait(&self, verb: &[&str], what: &[&str]) -> Result<()> {
        let limit = format!("--timeout={}s", PODS.as_secs());
        self.kubectl()?.run(&[verb, &[&limit], what].concat()).map(drop).with_context(|| self.account())
    }

    /// What a person would look at after a failure: pods, events, what containers that are not ready said, and the nodes'
    /// logs.
    #[must_use]
    pub fn account(&self) -> String {
        let ask = |words: &[&str]| {
            let said =
                self.kubectl().and_then(|kubectl| kubectl.run(words)).unwrap_or_else(|error| format!("{error:#}"));
            format!("--- kubectl {}\n{said}\n", words.join(" "))
        };
        let mut text = ask(&["get", "pods", "--all-namespaces", "-o", "wide"]);
        text += &ask(&["get", "events", "--all-namespaces", "--field-selector", "type!=Normal"]);
        let pods = self.kubectl().and_then(|kubectl| kubectl.get(&["pods", "--all-namespaces"])).unwrap_or_default();
        for pod in pods["items"].as_array().into_iter().flatten().filter(|pod| !is_well(pod)) {
            let part = |key: &str| pod["metadata"][key].as_str().unwrap_or_default();
            text += &ask(&["logs", "--tail=40", "--all-containers", "--namespace", part("namespace"), part("name")]);
        }
        text + &self.logs()
    }

    fn logs(&self) -> String {
        self.nodes.iter().map(Node::logs).collect()
    }
}

/// Whether every container of a pod is ready.
fn is_well(pod: &Value) -> bool {
    let mut containers = pod["status"]["containerStatuses"].as_array().into_iter().flatten().peekable();
    containers.peek().is_some() && containers.all(|one| one["ready"] == true)
}

/// The archive of the image every node has.
fn base(site: &Site, program: &Path) -> Result<PathBuf> {
    let (root, archive) = (site.net().scratch().folder("base")?, site.net().scratch().path().join("base.tar"));
    let name = program.file_name().and_then(|name| name.to_str()).context("a program without a name")?;
    image::add(&root, program)?;
    image::pack(&root, (IMAGE, &[&format!("/{name}"), "pause"]), &archive)?;
    Ok(archive)
}

/// The nodes' objects, made before the nodes come, so that each has the network its wires are laid for.
fn objects(nodes: &[Node]) -> String {
    let object = |node: &Node| {
        let [pods4, pods6] = node.place.pods();
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name()},
            "spec": {"podCIDR": pods4, "podCIDRs": [pods4, pods6]},
        })
    };
    list(&nodes.iter().map(object).collect::<Vec<_>>())
}

/// The same on all nodes at once.
fn each(nodes: &mut [Node], work: impl Fn(&mut Node) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let started: Vec<_> = nodes.iter_mut().map(|node| scope.spawn(move || work(node))).collect();
        let results = started.into_iter().map(|one| one.join().map_err(|_| anyhow!("work on a node panicked"))?);
        results.collect::<Vec<Result<()>>>().into_iter().collect()
    })
}
