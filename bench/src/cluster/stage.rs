//! The cluster.
//!
//! Guarantees: Sortie is installed from its manifests and its helpers are ready; Services that were asked for have their
//! addresses.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use sortie_testkit::kube::{Cluster, Kubectl, Setup, list};
use sortie_testkit::{poll, programs};
use sortie_tests::install;

use super::kube_vip::{KubeVip, Lease, Program};
use super::objects::{Wish, base, service};
use crate::say;

/// All nodes.
pub(crate) const NODES: [usize; 3] = [1, 2, 3];
/// How long it may take until a Service has its address.
const GIVEN: Duration = Duration::from_secs(60);

/// Who gives pods of a Service its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Sortie,
    KubeVip(Lease),
}

impl Subject {
    /// Prefix of names of its objects.
    pub(crate) fn app(self) -> &'static str {
        match self {
            Self::Sortie => "sortie",
            Self::KubeVip(_) => "kube-vip",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sortie => "sortie",
            Self::KubeVip(Lease::Usual) => "kube-vip",
            Self::KubeVip(Lease::Short) => "kube-vip, shortest lease",
        }
    }
}

/// The cluster, and the other product's program where it is given.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) kubectl: Kubectl,
    program: Option<Program>,
}

impl Stage {
    /// Three nodes.
    pub(crate) fn new() -> Result<Self> {
        let program = Program::given()?;
        let mut cluster = Cluster::start(&Setup::new(&programs::ours("probe")?))?;
        install::load(&mut cluster)?;
        install::apply(&cluster, &programs::workspace().join("install"))?;
        let kubectl = cluster.kubectl()?;
        kubectl.apply(&list(&base()))?;
        say("    the cluster stands");
        Ok(Self { cluster, kubectl, program })
    }

    /// Of these subjects, those that are there.
    pub(crate) fn present(&self, subjects: &[Subject]) -> Vec<Subject> {
        let is_there = |subject: &&Subject| **subject == Subject::Sortie || self.program.is_some();
        subjects.iter().filter(is_there).copied().collect()
    }

    /// What the tables say of the other product.
    pub(crate) fn other(&self) -> String {
        match &self.program {
            None => "Without kube-vip, whose program was not given.".to_owned(),
            Some(program) if program.version.is_empty() => "kube-vip of an unknown version.".to_owned(),
            Some(program) => format!("kube-vip {}.", program.version),
        }
    }

    /// Starts what a subject needs on the nodes; nothing for Sortie, which is there.
    pub(crate) fn start(&self, subject: Subject) -> Result<Option<KubeVip>> {
        match (subject, &self.program) {
            (Subject::KubeVip(lease), Some(program)) => KubeVip::start(&self.cluster, (program, lease)).map(Some),
            _ => Ok(None),
        }
    }

    /// What a person would look at after a failure.
    pub(crate) fn account(&self, running: Option<&KubeVip>) -> String {
        self.cluster.account() + &running.map(KubeVip::account).unwrap_or_default()
    }

    /// Makes a Service and returns its address.
    pub(crate) fn serve(&self, wish: Wish<'_>) -> Result<IpAddr> {
        let object = service(wish);
        self.kubectl.apply(&object.to_string())?;
        let given = || match wish.subject {
            Subject::Sortie => self.kubectl.get(&["service", wish.app]).ok().as_ref().and_then(ready),
            // It gives the address when there are pods.
            Subject::KubeVip(_) => object["spec"]["loadBalancerIP"].as_str()?.parse().ok(),
        };
        poll(GIVEN, &format!("an address of {}", wish.app), given).with_context(|| self.cluster.account())
    }
}

/// Address of a Service of Sortie that its pods can leave with.
fn ready(service: &Value) -> Option<IpAddr> {
    let mut conditions = service["status"]["conditions"].as_array()?.iter();
    conditions.find(|one| one["type"] == "sortie.dev/EgressReady" && one["status"] == "True")?;
    service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()?.parse().ok()
}
