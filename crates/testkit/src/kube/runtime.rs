//! containerd and runc of one node.
//!
//! Guarantees: the CNI plugins and networks are where every node has them, `/opt/cni/bin` and `/etc/cni/net.d`. Leaves
//! out: pulling images; they are imported.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::site::Place;
use crate::command;
use crate::containerd::configuration::{Folders, SOCKET};
use crate::net::Namespace;
use crate::process::Process;
use crate::tools::{Group, ensure};
use crate::wait::until;

/// Where it is reached on a node.
pub(super) const FOLDER: &str = "/run/containerd";
/// Plugins a node has from the start.
const PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];
/// How long it may take to start.
const START: Duration = Duration::from_secs(30);

/// A running containerd.
#[derive(Debug)]
pub(super) struct Runtime {
    node: Namespace,
    ctr: PathBuf,
    process: Process,
}

impl Runtime {
    /// Starts it inside a machine; `sandbox` is the image of every pod's first container.
    ///
    /// # Errors
    /// When it does not start; with its log.
    pub(super) fn start(inside: &Namespace, disk: &Path, sandbox: &str) -> Result<Self> {
        let bin = ensure(Group::Containerd)?;
        ensure(Group::Runc)?;
        let config = disk.join("containerd.toml");
        let folders = Folders {
            root: "/var/lib/containerd".into(),
            state: FOLDER.into(),
            sockets: FOLDER.into(),
            plugins: vec!["/opt/cni/bin".into()],
            networks: "/etc/cni/net.d".into(),
            programs: &bin,
            sandbox,
        };
        std::fs::write(&config, folders.text()).context("cannot write containerd's configuration")?;
        let mut containerd = Command::new(bin.join("containerd"));
        let path = std::env::var("PATH").unwrap_or_default();
        containerd.arg("--config").arg(&config).env("PATH", format!("{}:{path}", bin.display()));
        let process = Process::start(inside, &mut containerd, &disk.join("containerd.log"))?;
        let runtime = Self { node: inside.clone(), ctr: bin.join("ctr"), process };
        until(START, "containerd", || runtime.ctr(&["version"]).is_ok()).with_context(|| runtime.process.log())?;
        Ok(runtime)
    }

    /// Takes in an archive of [`crate::image::pack`].
    ///
    /// # Errors
    /// When containerd refuses it.
    pub(super) fn import(&self, archive: &Path) -> Result<()> {
        let archive = archive.to_str().context("an archive with a strange name")?;
        self.ctr(&["images", "import", archive]).map(drop)
    }

    fn ctr(&self, words: &[&str]) -> Result<String> {
        let mut ctr = Command::new(&self.ctr);
        ctr.args(["--address", &format!("{FOLDER}/{SOCKET}"), "--namespace", "k8s.io"]).args(words);
        self.node.with(|| command::text(&mut ctr, ""))
    }
}

/// Puts plugins and a network on a new disk.
pub(super) fn network(disk: &Path, place: Place) -> Result<()> {
    let (from, to, networks) = (ensure(Group::Cni)?, disk.join("opt/cni/bin"), disk.join("cni/net.d"));
    for folder in [&to, &networks] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    for plugin in PLUGINS {
        std::fs::copy(from.join(plugin), to.join(plugin)).with_context(|| format!("cannot copy {plugin}"))?;
    }
    let [pods4, pods6] = place.pods();
    let list = json!({
        "cniVersion": "1.1.0", "name": "pods",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "hairpinMode": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": pods4}], [{"subnet": pods6}]]},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    let text = serde_json::to_string_pretty(&list).context("cannot write the network")?;
    std::fs::write(networks.join("10-pods.conflist"), text).context("cannot write the network")
}
