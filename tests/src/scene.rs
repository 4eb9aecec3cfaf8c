//! The usual stage: a lab, a running helper, a network with pods.

use std::time::Duration;

use anyhow::Result;
use sortie_testkit::{Cni, Helper, Lab, Main, Network, Pod, PodSpec, manifest};

/// Runs a test on a lab of its own; when it fails, says why and then what the node looked like.
///
/// # Errors
/// Those of the test.
pub fn scenario(test: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    let lab = Lab::new()?;
    lab.manifest("node.yaml", &manifest::node())?;
    lab.manifest("routes.yaml", &manifest::all(&[manifest::route("b"), manifest::route("c")]))?;
    let outcome = test(&lab);
    outcome.inspect_err(|error| eprintln!("{error:#}\n{}", lab.describe()))
}

/// How long a change of a manifest, or a repair, may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(5);

/// A helper and a network on a lab whose manifests hold the node and the routes `b` and `c`.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The topology.
    pub lab: &'a Lab,
    /// The helper.
    pub helper: Helper<'a>,
    /// The network.
    pub cni: Cni<'a>,
}

impl<'a> Scene<'a> {
    /// A bridge network and a helper with these flags.
    ///
    /// # Errors
    /// When something does not start.
    pub fn new(lab: &'a Lab, flags: &[&str]) -> Result<Self> {
        Self::on(lab, flags, &Network::new(lab, Main::Bridge)?)
    }

    /// Another network.
    ///
    /// # Errors
    /// When something does not start.
    pub fn on(lab: &'a Lab, flags: &[&str], network: &Network<'a>) -> Result<Self> {
        let cni = network.write()?;
        Ok(Self { lab, helper: Helper::start(lab, flags)?, cni })
    }

    /// A pod all of whose traffic asks for a route.
    ///
    /// # Errors
    /// When ADD fails.
    pub fn pod_by(&self, name: &str, route: &str) -> Result<Pod> {
        self.cni.pod(PodSpec::new(name).with("route", route))
    }

    /// A pod that asks for nothing.
    ///
    /// # Errors
    /// When ADD fails.
    pub fn plain_pod(&self, name: &str) -> Result<Pod> {
        self.cni.pod(PodSpec::new(name))
    }
}
