//! The two nodes, and the ways to start pods on them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sortie_testkit::containerd::{Containerd, Sandbox};
use sortie_testkit::{Lab, Main, Network};

/// A chain, and what pods ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Without our plugin.
    Without,
    /// With it, and pods with a route.
    Selected,
    /// With it, and pods that ask for nothing.
    Unselected,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Without, Self::Selected, Self::Unselected];

    /// What the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Without => "without Sortie",
            Self::Selected => "with it, selected pods",
            Self::Unselected => "with it, other pods",
        }
    }

    /// Part of names of pods.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Without => "without",
            Self::Selected => "selected",
            Self::Unselected => "other",
        }
    }

    /// On which of the two nodes.
    pub(crate) fn node(self) -> usize {
        usize::from(self != Self::Without)
    }

    fn annotations(self) -> Value {
        match self {
            Self::Selected => json!({"sortie.dev/route": "b", "sortie.dev/ports": "udp:5060"}),
            Self::Without | Self::Unselected => json!({}),
        }
    }

    /// Starts pods at once and ends them again; the time of each.
    pub(crate) fn start(self, nodes: &[Containerd<'_>; 2], names: &[String]) -> Result<Vec<Duration>> {
        let node = &nodes[self.node()];
        let pods = node.sandboxes(names, &self.annotations())?;
        let (pods, times): (Vec<Sandbox>, Vec<Duration>) = pods.into_iter().unzip();
        node.stop_all(&pods)?;
        Ok(times)
    }
}

/// Writes the chain: `bridge` and, on the node of [`Way::Selected`], our plugin.
pub(crate) fn chain(lab: &Lab, way: Way) -> Result<()> {
    let network = Network::new(lab, Main::Bridge)?;
    network.write()?;
    if way != Way::Without {
        return Ok(());
    }
    let mut document = network.document();
    let plugins = document["plugins"].as_array_mut().context("a chain without plugins")?;
    plugins.truncate(1);
    let path = lab.path("net.d").join("pods.conflist");
    std::fs::write(&path, document.to_string()).with_context(|| format!("cannot write {}", path.display()))
}

/// containerd with an image whose program only waits.
pub(crate) fn containerd(lab: &Lab) -> Result<Containerd<'_>> {
    let own = std::env::current_exe().context("cannot find the own program")?;
    let probe = own.with_file_name("probe");
    ensure!(probe.is_file(), "{} is not there; run `cargo xtask build`", probe.display());
    Containerd::start(lab, &probe)
}
