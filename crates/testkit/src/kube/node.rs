//! One node: its machine with containerd, kubelet and kube-proxy.
//!
//! Guarantees: what was imported, what pods wrote and what CNI keeps outlives a boot, nothing else does. Leaves out: the
//! node's object, which the cluster makes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::apiserver::ApiServer;
use super::certificates::{Identity, Names};
use super::machine::Machine;
use super::proxy::Proxy;
use super::runtime::{self, Runtime};
use super::shell::Shell;
use super::site::Place;
use crate::containerd::IMAGE;
use crate::containerd::configuration::SOCKET;
use crate::groups::ControlGroup;
use crate::net::Namespace;
use crate::process::Process;
use crate::tools::{Group, ensure};

/// What a kubelet is told by: its settings and its way to the API server.
const KUBELET: [&str; 2] = ["kubelet.json", "kubelet.kubeconfig"];

/// A program that a node can lose and start again, as its service manager would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// The kubelet.
    Kubelet,
    /// containerd; its pods go on without it.
    Containerd,
}

/// A node, running or not.
#[derive(Debug)]
pub struct Node {
    /// Where it stands.
    pub place: Place,
    /// Its network; another one after each boot.
    pub network: Namespace,
    disk: PathBuf,
    proxy: Option<Process>,
    kubelet: Option<Process>,
    runtime: Option<Runtime>,
    machine: Option<Machine>,
    group: Option<ControlGroup>,
}

impl Node {
    /// One whose network is plugged and whose disk is new.
    pub(super) fn new(place: Place, network: Namespace, disk: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&disk).with_context(|| format!("cannot create {}", disk.display()))?;
        runtime::network(&disk, place)?;
        Ok(Self { place, network, disk, proxy: None, kubelet: None, runtime: None, machine: None, group: None })
    }

    /// Its name in the cluster.
    #[must_use]
    pub fn name(&self) -> String {
        format!("n{}", self.place.0)
    }

    /// The folder with its disk and its logs: `lib`, `log`, `opt` and `cni` are the node's `/var/lib`, `/var/log`, `/opt`
    /// and `/etc/cni`. Its kubelet runs pods out of `lib/kubelet/manifests`.
    #[must_use]
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// Its network, mounts and process ids, to run programs there. Captures and probes, which need threads, take
    /// [`Node::network`]. A program that is started there beside the test is to be waited for before the power is cut.
    ///
    /// # Errors
    /// When its power is off.
    pub fn inside(&self) -> Result<&Namespace> {
        self.machine.as_ref().map(|machine| &machine.inside).with_context(|| format!("{} is off", self.name()))
    }

    /// A shell on it, whose `ctr` is its containerd's, in a folder.
    ///
    /// # Errors
    /// When its power is off.
    pub fn shell(&self, folder: &Path) -> Result<Shell> {
        Shell::new(self.inside()?, folder, ("CONTAINERD_ADDRESS", format!("{}/{SOCKET}", runtime::FOLDER).into()))
    }

    /// Boots the machine and its runtime.
    pub(super) fn boot(&mut self) -> Result<()> {
        self.group = Some(ControlGroup::new(self.network.name())?);
        self.machine = Some(Machine::boot(&self.network, (&self.name(), &self.disk))?);
        self.start(Daemon::Containerd)
    }

    /// Ends one of its programs as the kernel does when there is no memory: nothing ends in order.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, daemon: Daemon) -> Result<()> {
        let killed = match daemon {
            Daemon::Kubelet => self.kubelet.take().map(drop),
            Daemon::Containerd => self.runtime.take().map(drop),
        };
        killed.with_context(|| format!("no {daemon:?} runs on {}", self.name()))
    }

    /// Starts it again with the files it had.
    ///
    /// # Errors
    /// When it does not start; with its log.
    pub fn start(&mut self, daemon: Daemon) -> Result<()> {
        match daemon {
            Daemon::Kubelet => {
                let log = self.disk.join("kubelet.log");
                self.kubelet = Some(Process::start(self.inside()?, &mut self.kubelet()?, &log)?);
            }
            Daemon::Containerd => self.runtime = Some(Runtime::start(self.inside()?, &self.disk, IMAGE)?),
        }
        Ok(())
    }

    /// Takes in an archive of [`crate::image::pack`].
    pub(super) fn import(&self, archive: &Path) -> Result<()> {
        self.runtime.as_ref().with_context(|| format!("{} is off", self.name()))?.import(archive)
    }

    /// Starts what makes it a node of the cluster.
    pub(super) fn join(&mut self, api: &ApiServer, proxy: Proxy) -> Result<()> {
        let names = Names { hosts: vec![self.name()], addresses: self.place.inner().to_vec() };
        let user = format!("system:node:{}", self.name());
        let own = api.authority().issue(&user, Some("system:nodes"), &names)?;
        self.write(KUBELET[0], &self.kubelet_settings(api, &own).to_string())?;
        self.write(KUBELET[1], &api.kubeconfig_of(&own))?;
        std::fs::create_dir_all(self.disk.join("lib/kubelet/manifests")).context("cannot create a folder")?;
        self.proxy = Some(proxy.start(self.inside()?, (&self.name(), &self.disk), api)?);
        self.start(Daemon::Kubelet)
    }

    /// A power cut: nothing on it ends in order.
    pub(super) fn cut(&mut self) {
        if let Some(machine) = &self.machine {
            machine.cut();
        }
        // Ours before the first process, which is not gone before all others were buried by their parents.
        (self.kubelet, self.proxy) = (None, None);
        self.runtime = None;
        self.machine = None;
        self.group = None;
    }

    /// The last lines of its programs' logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let tail = |name: &str| {
            let text = std::fs::read_to_string(self.disk.join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {name} of {}\n{}\n", self.name(), lines[lines.len().saturating_sub(20)..].join("\n"))
        };
        ["containerd", "kubelet", "kube-proxy"].map(tail).concat()
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.disk.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn kubelet(&self) -> Result<Command> {
        let [config, access] = KUBELET.map(|name| self.disk.join(name));
        let [inner4, inner6] = self.place.inner();
        let mut kubelet = Command::new(ensure(Group::Kubernetes)?.join("kubelet"));
        kubelet.arg("--config").arg(config).arg("--kubeconfig").arg(access);
        kubelet.arg(format!("--node-ip={inner4},{inner6}")).args(["--hostname-override", &self.name()]);
        Ok(kubelet)
    }

    fn kubelet_settings(&self, api: &ApiServer, own: &Identity) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false}, "webhook": {"enabled": true},
                "x509": {"clientCAFile": api.authority().own().certificate},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": own.certificate, "tlsPrivateKeyFile": own.key,
            "containerRuntimeEndpoint": format!("unix://{}/{SOCKET}", runtime::FOLDER),
            "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{}", self.network.name()),
            "failCgroupV1": false, "failSwapOn": false, "enforceNodeAllocatable": [],
            // Nobody serves names; without an address every pod gets a warning.
            "clusterDNS": ["10.96.0.10"], "clusterDomain": "cluster.local", "resolvConf": "",
            // An image that is removed cannot be pulled again.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%",
                             "nodefs.inodesFree": "1%"},
            "staticPodPath": "/var/lib/kubelet/manifests",
            "volumePluginDir": "/var/lib/kubelet/volumeplugins",
            "nodeStatusUpdateFrequency": "5s", "syncFrequency": "10s",
            "eventRecordQPS": 0, "registryPullQPS": 0, "serializeImagePulls": false,
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.cut();
    }
}
