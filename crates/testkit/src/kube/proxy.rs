//! kube-proxy of one node.
//!
//! Guarantees: it runs as in production, with the rules it writes from what the API server says. Leaves out: the objects,
//! that of its node too, for which it waits.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::apiserver::ApiServer;
use super::site::PODS;
use crate::net::Namespace;
use crate::process::Process;
use crate::tools::{Group, ensure};

/// How kube-proxy translates addresses of Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// With iptables.
    #[default]
    Iptables,
    /// With nftables.
    Nftables,
}

impl Proxy {
    /// Starts it in a place that reaches the API server, for the node `name`, with its files in `folder`.
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub fn start(self, place: &Namespace, (name, folder): (&str, &Path), api: &ApiServer) -> Result<Process> {
        let [access, config] = ["kubeconfig", "json"].map(|end| folder.join(format!("kube-proxy.{end}")));
        std::fs::write(&access, api.kubeconfig("system:kube-proxy", None)?).context("cannot write a kubeconfig")?;
        std::fs::write(&config, self.settings(name, &access)).context("cannot write settings")?;
        let mut command = Command::new(ensure(Group::Kubernetes)?.join("kube-proxy"));
        Process::start(place, command.arg("--config").arg(config), &folder.join("kube-proxy.log"))
    }

    fn settings(self, name: &str, access: &Path) -> String {
        let mode = match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        };
        let period = json!({"syncPeriod": "30s", "minSyncPeriod": "200ms"});
        let settings = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": access}, "mode": mode, "hostnameOverride": name,
            "clusterCIDR": PODS.join(","), "detectLocalMode": "ClusterCIDR",
            // The size of the table is the whole machine's.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            // Of which nftables would take only the Node's own.
            "nodePortAddresses": ["0.0.0.0/0", "::/0"],
            "iptables": period, "nftables": period,
        });
        settings.to_string()
    }
}
