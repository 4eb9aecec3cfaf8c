//! kube-controller-manager and kube-scheduler.
//!
//! Guarantees: fast enough for tests: the usual limits of requests would delay a pod by seconds. Leaves out: elections;
//! there is one of each.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::apiserver::{ApiServer, TOKENS};
use crate::net::Namespace;
use crate::process::Process;
use crate::tools::{Group, ensure};

const FIXED: [&str; 3] = ["--leader-elect=false", "--kube-api-qps=300", "--kube-api-burst=600"];

/// Starts both beside the API server, with their files in `folder`.
pub(super) fn start(api: &ApiServer, place: &Namespace, folder: &Path) -> Result<[Process; 2]> {
    let (authority, tokens) = (api.authority().own(), api.authority().identity(TOKENS));
    let files = [
        ("service-account-private-key-file", &tokens.key),
        ("root-ca-file", &authority.certificate),
        ("cluster-signing-cert-file", &authority.certificate),
        ("cluster-signing-key-file", &authority.key),
    ];
    let mut manager = program(api, folder, "kube-controller-manager")?;
    manager.args(files.map(|(name, path)| format!("--{name}={}", path.display())));
    // Nodes come with networks of their pods.
    manager.args(["--use-service-account-credentials", "--allocate-node-cidrs=false"]);
    let mut scheduler = program(api, folder, "kube-scheduler")?;
    let run = |command: &mut Command, name: &str| Process::start(place, command, &folder.join(format!("{name}.log")));
    Ok([run(&mut manager, "kube-controller-manager")?, run(&mut scheduler, "kube-scheduler")?])
}

fn program(api: &ApiServer, folder: &Path, name: &str) -> Result<Command> {
    let access = folder.join(format!("{name}.kubeconfig"));
    std::fs::write(&access, api.kubeconfig(&format!("system:{name}"), None)?)
        .with_context(|| format!("cannot write {}", access.display()))?;
    let mut command = Command::new(ensure(Group::Kubernetes)?.join(name));
    command.arg(format!("--kubeconfig={}", access.display())).args(FIXED);
    Ok(command)
}
