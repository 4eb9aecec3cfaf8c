//! kube-vip on every node.
//!
//! Guarantees: it has the flags that its own generator of manifests writes for Services with egress, and the rights of an
//! administrator; a program that cannot be started is an error with its path. Leaves out: its image; it runs as a process
//! of the node, as a DaemonSet in the host's network does.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sortie_testkit::Process;
use sortie_testkit::kube::Cluster;

use super::objects::KUBE_VIP as ADDRESSES;
use super::stage::NODES;

/// Where the program is.
const VARIABLE: &str = "KUBE_VIP";
/// How long it may take to end in order.
const END: Duration = Duration::from_secs(20);
const FLAGS: [&str; 7] =
    ["manager", "--arp", "--services", "--servicesElection", "--egressWithNftables", "--interface", DEVICE];
/// Where it puts addresses.
const DEVICE: &str = "eth0";
/// Takes its rules away.
const FORGET: &str = "{ nft delete table ip kube_vip_v4 2>/dev/null || true; }";

/// How long a node that died counts as the owner of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    /// As it is without a flag: 15 s, renewed within 10 s, tried every 2 s.
    Usual,
    /// The shortest that whole seconds allow: the time to renew has to be longer than 1.2 tries, the lease longer than that.
    Short,
}

impl Lease {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Usual => &[],
            Self::Short => &["--leaseDuration", "3", "--leaseRenewDuration", "2", "--leaseRetry", "1"],
        }
    }
}

/// The program.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    /// As it says itself; empty when nobody told the compiler.
    pub(crate) version: String,
}

impl Program {
    /// The one in the environment, if there is one.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn given() -> Result<Option<Self>> {
        let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from) else {
            return Ok(None);
        };
        let what = || format!("{VARIABLE}={} cannot be used", path.display());
        let path = path.canonicalize().with_context(what)?;
        let output = Command::new(&path).arg("version").output().with_context(what)?;
        ensure!(output.status.success(), "{}: `version` ends with {}", what(), output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().find_map(|line| line.strip_prefix("Version:")).unwrap_or_default().trim().to_owned();
        Ok(Some(Self { path, version }))
    }
}

/// Its running processes.
pub(crate) struct KubeVip {
    /// In the order of the nodes; nothing where the power was cut.
    processes: Vec<Option<Process>>,
}

impl KubeVip {
    /// Starts it on every node.
    pub(crate) fn start(cluster: &Cluster, (program, lease): (&Program, Lease)) -> Result<Self> {
        let folder = cluster.site.net().scratch().folder("kube-vip")?;
        let access = folder.join("kubeconfig");
        std::fs::write(&access, cluster.api.kubeconfig("kube-vip", Some("system:masters"))?)
            .context("cannot write a kubeconfig")?;
        let start = |number: usize| {
            let node = cluster.node(number)?;
            let mut command = Command::new(&program.path);
            command.args(FLAGS).args(lease.flags()).arg("--k8sConfigPath").arg(&access);
            command.args(["--nodeName", &node.name()]);
            let log = folder.join(format!("{}.log", node.name()));
            let started = Process::start(node.inside()?, &mut command, &log);
            started.map(Some).with_context(|| format!("{VARIABLE}={}", program.path.display()))
        };
        Ok(Self { processes: NODES.into_iter().map(start).collect::<Result<_>>()? })
    }

    /// It is gone from a node whose power is about to be cut.
    pub(crate) fn lose(&mut self, node: usize) {
        if let Some(place) = self.processes.get_mut(node - 1) {
            *place = None;
        }
    }

    /// Ends it in order, and takes away what it leaves on the nodes, so that whoever comes next finds nothing.
    pub(crate) fn stop(mut self, cluster: &Cluster) -> Result<()> {
        for process in self.processes.iter_mut().flatten() {
            process.signal(Signal::SIGTERM)?;
        }
        for (index, process) in self.processes.iter_mut().enumerate() {
            let Some(process) = process else { continue };
            process.wait(END).with_context(|| tail(process))?;
            let node = cluster.node(index + 1)?.inside()?;
            node.run("sh", &["-c", &format!("ip addr flush dev {DEVICE} to {ADDRESSES} && {FORGET}")])?;
        }
        Ok(())
    }

    /// The last lines of what its processes said.
    pub(crate) fn account(&self) -> String {
        self.processes.iter().flatten().map(tail).collect()
    }
}

fn tail(process: &Process) -> String {
    let log = process.log();
    let lines: Vec<&str> = log.lines().collect();
    format!("--- kube-vip\n{}\n", lines[lines.len().saturating_sub(40)..].join("\n"))
}
