//! Real Kubernetes for tests: the programs themselves, in namespaces of the test.
//!
//! [`ApiServer`] alone is for programs that talk to an API server: what is asked for is stored, and nobody acts on it.
//! [`Cluster`] is everything: nodes with containerd, kubelet and kube-proxy run pods on two networks with routers and a
//! server behind them ([`Site`]).
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use sortie_testkit::kube::{Cluster, Setup};
//! # let (probe, root) = (std::path::Path::new("probe"), std::path::Path::new("root"));
//! let mut cluster = Cluster::start(&Setup::new(probe))?;        // three nodes, Ready
//! cluster.load(root, ("docker.io/sortie/product:1", &["/run"]))?; // an image out of a folder, on every node
//! let kubectl = cluster.kubectl()?;
//! kubectl.apply("{apiVersion: v1, kind: Namespace, metadata: {name: voice}}")?;
//! cluster.rolled_out(&["deployment/web", "--namespace", "voice"])?; // or what its pods said
//! cluster.cut(2)?;                                              // power of n2
//! cluster.boot(2)?;
//! # Ok(()) }
//! ```
//!
//! Guarantees: the API server checks who asks (certificates and tokens, RBAC and the Node authorizer); everything ends
//! with the values that started it, a cluster in a second. Leaves out: how the programs are built ([`crate::tools`]),
//! names (no DNS), and volumes that no node has.

mod apiserver;
mod certificates;
mod cluster;
mod controllers;
mod host;
mod kubeconfig;
mod kubectl;
mod machine;
mod node;
mod proxy;
mod runtime;
mod shell;
mod site;

pub use apiserver::{ApiServer, Scope};
pub use certificates::{Authority, Identity, Names};
pub use cluster::{Cluster, Setup};
pub use kubectl::{Kubectl, list};
pub use node::{Daemon, Node};
pub use proxy::Proxy;
pub use shell::Shell;
pub use site::{GATEWAYS, Place, Site};
