//! The usual stage with an API server in place of a folder: it runs on the lab's node.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use sortie_testkit::kube::{ApiServer, Kubectl, Scope};
use sortie_testkit::{Cni, Helper, Lab, Main, Network, manifest};

/// Namespace of the helper.
pub const SYSTEM: &str = "sortie-system";
/// Account of the helper, as the API server calls it.
pub const ACCOUNT: &str = "system:serviceaccount:sortie-system:sortie-helper";

/// An API server with our definitions, the helper's role, the node and the routes `b` and `c`.
#[derive(Debug)]
pub struct ApiScene<'a> {
    /// The topology.
    pub lab: &'a Lab,
    /// The API server.
    pub api: ApiServer,
    /// The administrator.
    pub admin: Kubectl,
    kubeconfig: PathBuf,
}

impl<'a> ApiScene<'a> {
    /// Starts it.
    ///
    /// # Errors
    /// When something does not start or is refused.
    pub fn new(lab: &'a Lab) -> Result<Self> {
        let api = ApiServer::start(&lab.node, &lab.net().scratch().folder("api")?, Scope::Alone)?;
        let admin = api.kubectl()?;
        admin.run(&["create", "namespace", SYSTEM])?;
        for file in ["crds.yaml", "rbac.yaml"] {
            admin.apply(&shipped(file)?)?;
        }
        admin.run(&["wait", "--for=condition=established", "--timeout=30s", "crd", "--all"])?;
        admin.apply(&manifest::all(&[manifest::node(), manifest::route("b"), manifest::route("c")]))?;
        let kubeconfig = lab.path("helper.kubeconfig");
        let mut config: Value = serde_json::from_str(&api.account(SYSTEM, "sortie-helper")?)?;
        config["contexts"][0]["context"]["namespace"] = SYSTEM.into();
        std::fs::write(&kubeconfig, config.to_string()).context("cannot write the kubeconfig")?;
        Ok(Self { lab, api, admin, kubeconfig })
    }

    /// The helper, started and not waited for.
    ///
    /// # Errors
    /// When it is not built.
    pub fn launch(&self) -> Result<Helper<'a>> {
        self.launch_with(&[])
    }

    /// The helper with more flags, started and not waited for.
    ///
    /// # Errors
    /// When it is not built.
    pub fn launch_with(&self, flags: &[&str]) -> Result<Helper<'a>> {
        let kubeconfig = self.kubeconfig.to_string_lossy();
        Helper::launch(self.lab, &[&["--kubernetes", "--kubeconfig", &kubeconfig], flags].concat())
    }

    /// The helper, ready.
    ///
    /// # Errors
    /// When it does not start.
    pub fn helper(&self) -> Result<Helper<'a>> {
        let mut helper = self.launch()?;
        helper.await_ready()?;
        Ok(helper)
    }

    /// A bridge network.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn network(&self) -> Result<Cni<'a>> {
        Network::new(self.lab, Main::Bridge)?.write()
    }
}

/// A manifest that is shipped.
///
/// # Errors
/// When it cannot be read.
pub fn shipped(file: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../install/kustomize").join(file);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// A pod with a label `app`, on a node unless that is empty.
#[must_use]
pub fn pod(name: &str, app: &str, node: &str) -> String {
    let node = if node.is_empty() { String::new() } else { format!("nodeName: {node}, ") };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {{app: {app}}}}}\n\
         spec: {{{node}containers: [{{name: c, image: none}}]}}\n"
    )
}
