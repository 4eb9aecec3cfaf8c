//! Who makes a pod leave by router b.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::GATEWAY4;
use sortie_testkit::{Lab, PodSpec};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The plugin, before the pod's first program starts.
    Sortie,
    /// A controller that is told of the pod when its network is there, at the same instant at which the pod's first
    /// program starts, and runs what a person would type. Real ones are told later, by the API.
    Controller,
}

impl Subject {
    pub(crate) const ALL: [Self; 2] = [Self::Sortie, Self::Controller];

    /// Whose turn it is.
    pub(crate) fn of(number: usize) -> Self {
        Self::ALL[number % Self::ALL.len()]
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sortie => "sortie",
            Self::Controller => "rules after the pod has its address",
        }
    }

    /// What the runtime is told of the pod.
    pub(crate) fn spec(self, number: usize) -> PodSpec {
        let spec = PodSpec::new(&format!("p{number}"));
        if self == Self::Sortie { spec.with("route", "b") } else { spec }
    }

    /// The pod has this address now.
    pub(crate) fn told(self, lab: &Lab, address: IpAddr) -> Result<()> {
        let lines = format!(
            "ip rule add from {address} lookup {TABLE} pref {PREFERENCE} && nft add element ip late pods '{{ {address} }}' && \
             {{ conntrack -D -s {address} 2>/dev/null || true; }}"
        );
        self.by_hand(lab, &lines)
    }

    /// The pod is gone.
    pub(crate) fn forgotten(self, lab: &Lab, address: IpAddr) -> Result<()> {
        let lines = format!(
            "ip rule del from {address} lookup {TABLE} pref {PREFERENCE} && nft delete element ip late pods '{{ {address} }}'"
        );
        self.by_hand(lab, &lines)
    }

    fn by_hand(self, lab: &Lab, lines: &str) -> Result<()> {
        if self == Self::Sortie {
            return Ok(());
        }
        let mut shell = Command::new("sh");
        let mut child = lab.node.spawn(shell.args(["-c", lines]).stdout(std::process::Stdio::null()))?;
        ensure!(child.wait().context("cannot wait for a shell")?.success(), "{lines}");
        Ok(())
    }
}

/// Routing table of the controller, and preference of its rules.
const TABLE: u32 = 200;
const PREFERENCE: u32 = 2000;

/// What the controller needs once: a table and a set of pods whose source is translated before everybody else does it.
pub(crate) fn prepare(lab: &Lab) -> Result<()> {
    lab.node.ip(&format!("route add default via {} dev eth1 table {TABLE}", GATEWAY4[1]))?;
    lab.node.nft(
        "table ip late {
           set pods { type ipv4_addr; }
           chain out { type nat hook postrouting priority 90; ip saddr @pods oifname eth1 masquerade; }
         }",
    )
}
