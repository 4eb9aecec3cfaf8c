//! The product on a cluster, installed from its manifests as a person would.
//!
//! Guarantees: afterwards the helper of every node is ready. Leaves out: what the product is told to do.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result};
use sortie_testkit::kube::Cluster;

use crate::archive;

/// Namespace of the manifests.
pub const SYSTEM: &str = "sortie-system";

/// Brings the image to every node.
///
/// # Errors
/// When it cannot be made or a node refuses it.
pub fn load(cluster: &mut Cluster) -> Result<()> {
    let root = cluster.site.net().scratch().folder("product")?;
    archive::fill(&root)?;
    cluster.load(&root, (archive::IMAGE, archive::RUNS))
}

/// As `install/README.md` says, out of a folder with a kustomization.
///
/// # Errors
/// When the API server refuses something, or a helper does not get ready.
pub fn apply(cluster: &Cluster, folder: &Path) -> Result<()> {
    let (kubectl, key) = (cluster.kubectl()?, cluster.site.net().scratch().path().join("key"));
    let mut random = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random).context("no random key")?;
    std::fs::write(&key, random).context("cannot write the key")?;
    let key = format!("--from-file={}", key.display());
    kubectl.run(&["create", "namespace", SYSTEM])?;
    kubectl.run(&["-n", SYSTEM, "create", "secret", "generic", "sortie-peer-key", &key])?;
    kubectl.run(&["apply", "-k", &folder.display().to_string()])?;
    cluster.rolled_out(&["daemonset/sortie", "-n", SYSTEM])
}
