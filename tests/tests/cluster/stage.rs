//! A cluster with a Deployment and its Service, and questions to its pods.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sortie_testkit::kube::{Cluster, Kubectl, Setup};
use sortie_testkit::tools::{self, Group};
use sortie_testkit::{image, poll};

/// How long Services, pods that come again and the like may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A cluster with the objects of `web.yaml`.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) kubectl: Kubectl,
}

/// One pod of the Deployment.
pub(crate) struct Web {
    pub(crate) name: String,
    pub(crate) node: String,
    /// Of both families.
    pub(crate) addresses: Vec<String>,
}

impl Stage {
    pub(crate) fn new(setup: impl FnOnce(&mut Setup)) -> Result<Self> {
        let probe = Path::new(env!("CARGO_BIN_EXE_probe"));
        let mut wanted = Setup::new(probe);
        setup(&mut wanted);
        let mut cluster = Cluster::start(&wanted)?;
        let root = cluster.site.net().scratch().folder("reader")?;
        image::add(&root, probe)?;
        image::add(&root, &tools::ensure(Group::Kubernetes)?.join("kubectl"))?;
        cluster.load(&root, ("docker.io/sortie/reader:1", &["/probe", "pause"]))?;
        let kubectl = cluster.kubectl()?;
        kubectl.apply(include_str!("web.yaml"))?;
        cluster.rolled_out(&["deployment/web"])?;
        cluster.holds("Ready", &["pod/reader"])?;
        Ok(Self { cluster, kubectl })
    }

    /// The pods of the Deployment on one node, of those that `well` holds for.
    pub(crate) fn webs(&self, node: usize, well: impl Fn(&Value) -> bool) -> Result<Vec<Web>> {
        let node = format!("spec.nodeName=n{node}");
        let list = self.kubectl.get(&["pods", "--selector", "app=web", "--field-selector", &node])?;
        list["items"].as_array().context("no list")?.iter().filter(|pod| well(pod)).map(web).collect()
    }

    /// What a pod is told by whoever answers at `to`.
    pub(crate) fn ask(&self, pod: &str, to: &str) -> Result<String> {
        self.kubectl.run(&["exec", pod, "--", "/probe", "ask", "0", to])
    }

    /// Asks until there is an answer: what makes a Service work comes a little later than the Service.
    pub(crate) fn ask_soon(&self, pod: &str, to: &str) -> Result<String> {
        let what = format!("an answer from {to}");
        poll(LIMIT, &what, || self.ask(pod, to).ok()).with_context(|| self.cluster.account())
    }

    /// `address` with the port of the Service.
    pub(crate) fn service(&self, family: usize) -> Result<String> {
        let service = self.kubectl.get(&["service", "web"])?;
        let address = service["spec"]["clusterIPs"][family].as_str().context("the Service has no address")?;
        Ok(at(address))
    }
}

/// An address of either family with the port everybody listens on.
pub(crate) fn at(address: &str) -> String {
    if address.contains(':') { format!("[{address}]:7000") } else { format!("{address}:7000") }
}

/// The address in the answer of a pod or the server, as people write it.
pub(crate) fn source(answer: &str) -> Result<String> {
    let word = answer.split_whitespace().nth(1).with_context(|| format!("no source in {answer:?}"))?;
    let source: std::net::SocketAddr = word.parse().with_context(|| format!("no address in {answer:?}"))?;
    Ok(source.ip().to_canonical().to_string())
}

fn web(pod: &Value) -> Result<Web> {
    let addresses = pod["status"]["podIPs"].as_array().context("a pod without addresses")?;
    let addresses: Vec<String> = addresses.iter().filter_map(|one| one["ip"].as_str()).map(str::to_owned).collect();
    ensure!(addresses.len() == 2, "a pod has {addresses:?}");
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Web { name: word(&pod["metadata"]["name"]), node: word(&pod["spec"]["nodeName"]), addresses })
}
