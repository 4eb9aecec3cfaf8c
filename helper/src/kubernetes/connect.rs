//! The way to the API server.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Longest time to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// What `kubeconfig` says, or what a pod is given.
pub(super) async fn config(kubeconfig: Option<&Path>) -> anyhow::Result<Config> {
    let mut config = match kubeconfig {
        Some(path) => {
            let read = || format!("--kubeconfig {}", path.display());
            let file = Kubeconfig::read_from(path).with_context(read)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.with_context(read)?
        }
        None => Config::incluster().context("no --kubeconfig, and this is no pod with a service account")?,
    };
    config.connect_timeout = Some(CONNECT);
    Ok(config)
}

/// A client, whose connections live in the runtime this is called in.
pub(super) fn client(config: Config) -> anyhow::Result<Client> {
    Client::try_from(config).context("client of the Kubernetes API")
}
