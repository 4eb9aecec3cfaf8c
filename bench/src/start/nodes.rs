//! The nodes, and the ways to start pods on them.

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
    /// With it, and pods with a route, as one that is there already.
    Selected,
    /// With it, and the only pod with a route on its node.
    First,
    /// With it, and pods that ask for nothing.
    Unselected,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Without, Self::Selected, Self::First, Self::Unselected];

    /// What the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Without => "without Sortie",
            Self::Selected => "with it, selected pods",
            Self::First => "with it, the node's first selected pod",
            Self::Unselected => "with it, other pods",
        }
    }

    /// Part of names of pods.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Without => "without",
            Self::Selected => "selected",
            Self::First => "first",
            Self::Unselected => "other",
        }
    }

    /// Whether so many can be started at once.
    pub(crate) fn takes(self, crowd: usize) -> bool {
        self != Self::First || crowd == 1
    }

    /// On which of the nodes.
    pub(crate) fn node(self) -> usize {
        match self {
            Self::Without => 0,
            Self::Selected | Self::Unselected => 1,
            Self::First => 2,
        }
    }

    fn annotations(self) -> Value {
        match self {
            Self::Selected | Self::First => json!({"sortie.dev/route": "b", "sortie.dev/ports": "udp:5060"}),
            Self::Without | Self::Unselected => json!({}),
        }
    }

    /// Starts pods at once and ends them again; the time of each.
    pub(crate) fn start(self, nodes: &[Containerd<'_>; 3], names: &[String]) -> Result<Vec<Duration>> {
        let node = &nodes[self.node()];
        let pods = node.sandboxes(names, &self.annotations())?;
        let (pods, times): (Vec<Sandbox>, Vec<Duration>) = pods.into_iter().unzip();
        node.stop_all(&pods)?;
        Ok(times)
    }
}

/// A pod that stays, so that bridge and chains are there.
pub(crate) fn stand(node: &Containerd<'_>, way: Way) -> Result<()> {
    node.sandboxes(&["standing".to_owned()], &way.annotations()).map(drop)
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
