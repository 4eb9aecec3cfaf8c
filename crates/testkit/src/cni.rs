//! CNI networks and pods on the node of a [`Lab`], through `cnitool` and the reference plugins.
//!
//! Guarantees: configuration, leases and the runtime's cache are in the folder or the private mounts of the test.
//! Leaves out: undoing an ADD when a pod is dropped; the whole node goes with the lab.

mod conf;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command;
use crate::lab::Lab;
use crate::net::Namespace;
use crate::programs;
use crate::tools::{Group, ensure};

pub use conf::{Main, Network};

/// Seconds a command may take.
const LIMIT: &str = "60";
/// The capability by which annotations reach a plugin.
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// What a runtime knows about a pod before it starts.
#[derive(Clone, Debug, Default)]
pub struct PodSpec {
    /// Name.
    pub name: String,
    /// Namespace; empty = the runtime knows of no pods.
    pub namespace: String,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Mappings for portmap, `[{"hostPort": 8080, …}]`.
    pub port_mappings: Option<Value>,
}

impl PodSpec {
    /// A pod in the namespace `default`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), namespace: "default".to_owned(), ..Self::default() }
    }

    /// In another namespace.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self }
    }

    /// With one more annotation; `sortie.dev/` is put before the key.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(format!("sortie.dev/{key}"), value.to_owned());
        self
    }
}

/// A pod: a namespace that has, or once had, an attachment.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its network.
    pub namespace: Namespace,
    /// What the runtime knows about it.
    pub spec: PodSpec,
    /// Its addresses, IPv4 first; empty before ADD.
    pub addresses: Vec<IpAddr>,
    /// The result of ADD.
    pub result: Value,
}

impl Pod {
    /// Its IPv4 address.
    ///
    /// # Errors
    /// When it has none.
    pub fn ip4(&self) -> Result<IpAddr> {
        self.addresses.iter().copied().find(IpAddr::is_ipv4).context("the pod has no IPv4 address")
    }

    /// Its IPv6 address.
    ///
    /// # Errors
    /// When it has none.
    pub fn ip6(&self) -> Result<IpAddr> {
        self.addresses.iter().copied().find(IpAddr::is_ipv6).context("the pod has no IPv6 address")
    }

    /// Its address of the family of `other`.
    ///
    /// # Errors
    /// When it has none.
    pub fn like(&self, other: IpAddr) -> Result<IpAddr> {
        if other.is_ipv4() { self.ip4() } else { self.ip6() }
    }
}

/// A network whose configuration is written.
#[derive(Clone, Debug)]
pub struct Cni<'a> {
    lab: &'a Lab,
    name: String,
    folder: PathBuf,
    path: String,
}

impl<'a> Cni<'a> {
    pub(crate) fn new(lab: &'a Lab, name: &str, folder: PathBuf) -> Result<Self> {
        let (tools, own) = (ensure(Group::Cni)?, programs::ours("sortie")?);
        let own = own.parent().context("the plugin has no folder")?;
        Ok(Self { lab, name: name.to_owned(), folder, path: format!("{}:{}", tools.display(), own.display()) })
    }

    /// A new namespace for a pod, not yet attached.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn sandbox(&self, spec: PodSpec) -> Result<Pod> {
        let namespace = self.lab.net().namespace(&format!("pod-{}", spec.name))?;
        Ok(Pod { namespace, spec, addresses: Vec::new(), result: Value::Null })
    }

    /// A pod that is attached.
    ///
    /// # Errors
    /// When ADD fails, with what the plugins said.
    pub fn pod(&self, spec: PodSpec) -> Result<Pod> {
        let mut pod = self.sandbox(spec)?;
        self.add(&mut pod)?;
        Ok(pod)
    }

    /// ADD.
    ///
    /// # Errors
    /// When it fails, with what the plugins said.
    pub fn add(&self, pod: &mut Pod) -> Result<()> {
        let text = self.call("add", pod)?;
        pod.result = serde_json::from_str(&text).with_context(|| format!("the result is no JSON: {text}"))?;
        let ips = pod.result["ips"].as_array().cloned().unwrap_or_default();
        pod.addresses = ips.iter().filter_map(address).collect();
        pod.addresses.sort();
        if pod.addresses.is_empty() {
            bail!("the result has no addresses: {text}");
        }
        Ok(())
    }

    /// DEL.
    ///
    /// # Errors
    /// When it fails.
    pub fn del(&self, pod: &Pod) -> Result<()> {
        self.call("del", pod).map(drop)
    }

    /// CHECK.
    ///
    /// # Errors
    /// When something is not as it should be.
    pub fn check(&self, pod: &Pod) -> Result<()> {
        self.call("check", pod).map(drop)
    }

    /// Runs `cnitool`; `gc` keeps no attachment.
    ///
    /// # Errors
    /// When it fails, with what the plugins said.
    pub fn call(&self, verb: &str, pod: &Pod) -> Result<String> {
        self.lab.node.with(|| command::text(&mut self.command(verb, pod)?, ""))
    }

    /// The command that [`Cni::call`] runs.
    ///
    /// # Errors
    /// When `cnitool` cannot be built.
    pub fn command(&self, verb: &str, pod: &Pod) -> Result<Command> {
        let mut command = Command::new("timeout");
        command.arg(LIMIT).arg(ensure(Group::Cni)?.join("cnitool"));
        command.args([verb, &self.name]).arg(pod.namespace.path());
        command.env("NETCONFPATH", &self.folder).env("CNI_PATH", &self.path);
        if !pod.spec.namespace.is_empty() {
            let (namespace, name) = (&pod.spec.namespace, &pod.spec.name);
            let arguments = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}");
            command.env("CNI_ARGS", arguments);
        }
        let mut capabilities = serde_json::json!({ ANNOTATIONS: pod.spec.annotations });
        if let Some(mappings) = &pod.spec.port_mappings {
            capabilities["portMappings"] = mappings.clone();
        }
        command.env("CAP_ARGS", capabilities.to_string());
        Ok(command)
    }
}

fn address(ip: &Value) -> Option<IpAddr> {
    ip["address"].as_str()?.split_once('/')?.0.parse().ok()
}
