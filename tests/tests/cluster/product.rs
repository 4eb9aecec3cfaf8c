//! The product on a cluster, installed from its manifests as a person would.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sortie_testkit::kube::{Cluster, Kubectl, Setup, list};
use sortie_testkit::lab::{SERVER4, SERVER6};
use sortie_testkit::{poll, until};
use sortie_tests::install;
pub(crate) use sortie_tests::install::SYSTEM;

use crate::objects::{Pods, VIPS, send};

/// How long it may take on a busy machine until something is as it must be.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// How often a pod sends, in milliseconds.
const PACE: u32 = 100;

/// A cluster and what a person does with it.
pub(crate) struct Product {
    pub(crate) cluster: Cluster,
    pub(crate) kubectl: Kubectl,
}

/// One pod of a Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    /// Number of its node.
    pub(crate) node: usize,
}

impl Product {
    /// Three nodes.
    pub(crate) fn new() -> Result<Self> {
        let cluster = Cluster::start(&Setup::new(Path::new(env!("CARGO_BIN_EXE_probe"))))?;
        let kubectl = cluster.kubectl()?;
        Ok(Self { cluster, kubectl })
    }

    /// Brings the image to every node.
    pub(crate) fn load(&mut self) -> Result<()> {
        install::load(&mut self.cluster)
    }

    /// As `install/README.md` says, out of a folder.
    pub(crate) fn install(&self, folder: &Path) -> Result<()> {
        install::apply(&self.cluster, folder)
    }

    /// What the helper of a node says of itself.
    pub(crate) fn status(&self, node: usize) -> Result<Value> {
        let words = ["-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/name=sortie", "-o", "name"];
        let on = format!("--field-selector=spec.nodeName=n{node},status.phase=Running");
        let pod = self.kubectl.run(&[&words[..], &[&on]].concat())?;
        let pod = pod.lines().next().with_context(|| format!("no pod of ours on n{node}"))?;
        let ask = ["-n", SYSTEM, "exec", pod, "-c", "helper", "--", "/sortie-helper", "status", "-o", "json"];
        serde_json::from_str(&self.kubectl.run(&ask)?).context("status is no JSON")
    }

    /// The number of the node that owns the addresses of the only Service, by what one of `nodes` says.
    pub(crate) fn owner(&self, nodes: &[usize]) -> Result<usize> {
        let said = || {
            let owner = nodes.iter().filter_map(|node| self.status(*node).ok());
            owner.filter_map(|status| status["addresses"][0]["owner"].as_str()?.strip_prefix('n')?.parse().ok()).next()
        };
        poll(LIMIT, "an owner", said).with_context(|| self.account())
    }

    /// Waits until the Service `sip` has all addresses of the pool.
    pub(crate) fn await_addresses(&self) -> Result<()> {
        let given = || {
            let service = self.kubectl.get(&["service", "sip"]).ok()?;
            let ingress = service["status"]["loadBalancer"]["ingress"].as_array()?.clone();
            Some(ingress.iter().filter_map(|one| one["ip"].as_str()).map(str::to_owned).collect::<Vec<_>>())
        };
        self.until("addresses in the status of the Service", || given().is_some_and(|given| given == VIPS))
    }

    /// A Deployment whose pods send to the server from their first moment on.
    pub(crate) fn deploy(&self, (app, count): (&str, usize), annotations: Value) -> Result<()> {
        let pods = Pods { app, labels: json!({}), annotations, words: send(PACE) };
        self.run(&[(pods, count)])
    }

    /// Deployments, until all their pods are there.
    pub(crate) fn run(&self, wanted: &[(Pods<'_>, usize)]) -> Result<()> {
        let items: Vec<Value> = wanted.iter().map(|(pods, count)| pods.deployment(*count)).collect();
        self.kubectl.apply(&list(&items))?;
        wanted.iter().try_for_each(|(pods, _)| self.rolled_out(pods.app))
    }

    /// Waits until all pods of a Deployment are there.
    pub(crate) fn rolled_out(&self, app: &str) -> Result<()> {
        self.cluster.rolled_out(&[&format!("deployment/{app}")]).with_context(|| self.account())
    }

    /// The pods of a Deployment that run.
    pub(crate) fn pods(&self, app: &str) -> Result<Vec<Pod>> {
        let selector = format!("app={app}");
        let list = self.kubectl.get(&["pods", "-l", &selector, "--field-selector=status.phase=Running"])?;
        let pod = |pod: &Value| {
            let name = pod["metadata"]["name"].as_str()?.to_owned();
            Some(Pod { name, node: pod["spec"]["nodeName"].as_str()?.strip_prefix('n')?.parse().ok()? })
        };
        let well = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        Ok(list["items"].as_array().context("no list")?.iter().filter(well).filter_map(pod).collect())
    }

    /// What the server says to one more datagram of a pod, of version 4 or 6 by `family` 0 or 1.
    pub(crate) fn ask(&self, pod: &Pod, family: usize) -> Result<String> {
        let to = [format!("{SERVER4}:7001"), format!("[{SERVER6}]:7001")];
        let to = to.get(family).context("no such family")?;
        self.kubectl.run(&["exec", &pod.name, "--", "/probe", "ask", "0", to])
    }

    /// A file or folder on a node.
    pub(crate) fn disk(&self, node: usize, path: &str) -> Result<PathBuf> {
        Ok(self.cluster.node(node)?.disk().join(path))
    }

    /// Waits until something holds.
    pub(crate) fn until(&self, what: &str, holds: impl FnMut() -> bool) -> Result<()> {
        until(LIMIT, what, holds).with_context(|| self.account())
    }

    /// What a person would look at after a failure.
    pub(crate) fn account(&self) -> String {
        let mut text = self.cluster.account();
        for node in 1..=3 {
            let status = self.status(node).map_or_else(|error| format!("{error:#}"), |status| format!("{status:#}"));
            text += &format!("--- status of n{node}\n{status}\n");
        }
        let words =
            ["-n", SYSTEM, "logs", "-l", "app.kubernetes.io/name=sortie", "-c", "helper", "--prefix", "--tail=60"];
        text + &self.kubectl.run(&words).unwrap_or_else(|error| format!("{error:#}"))
    }
}
