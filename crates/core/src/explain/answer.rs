//! The answer, as it travels and as scripts read it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Question;
use crate::model::Family;

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// There is no such packet here: the checks say why.
    #[default]
    Unknown,
    /// Leaves this node by a route.
    Route,
    /// Leaves by another node.
    Tunnel,
    /// Leaves this node by the main table with the address of a Service.
    Address,
    /// Takes the main table, as without Sortie.
    MainTable,
    /// Is dropped.
    Dropped,
}

/// The answer; stable for scripts: fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Explanation {
    /// The node that answers.
    pub node: String,
    /// `namespace/name`.
    pub pod: String,
    /// What becomes of the packet.
    pub outcome: Outcome,
    /// The same in one sentence.
    pub summary: String,
    /// Container, interface and addresses of the pod here.
    pub attachment: Option<Attached>,
    /// The object that decides, if one does.
    pub decided_by: Option<Decider>,
    /// Other objects, and why they do not decide.
    pub others: Vec<Other>,
    /// How the packet leaves.
    pub way: Option<Way>,
    /// The source it leaves with.
    pub source: Option<SourceAddress>,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// What the kernel says to the same question.
    pub kernel: Vec<KernelAnswer>,
}

/// A pod on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attached {
    /// Container id; empty for a pod that is older than the installation.
    pub container: String,
    /// Interface.
    pub interface: String,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

/// The object that decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Decider {
    /// `Kind namespace/name`, or `net conf NAME`.
    pub object: String,
    /// The flow that matches.
    pub flow: String,
}

/// An object that does not decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Other {
    /// `Kind namespace/name`, or `net conf NAME`.
    pub object: String,
    /// The flow it asks for; empty when it asks nothing for this pod.
    pub flow: String,
    /// Whether the flow matches the packet, so that it lost.
    pub matches: bool,
    /// Why it does not decide.
    pub why: String,
}

/// How the packet leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Way {
    /// Route; empty without one.
    pub route: String,
    /// Table on this node.
    pub table: u32,
    /// Exit number on this node: what the packet mark holds; 0 = nothing.
    pub exit: u8,
    /// Path number on this node: what the connection mark holds; 0 = nothing.
    pub path: u16,
    /// The node it leaves by.
    pub node: String,
    /// The next hops the kernel chooses among.
    pub next_hops: Vec<Hop>,
    /// Next hops that are not used.
    pub unusable: Vec<Unusable>,
}

/// One next hop in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hop {
    /// Gateway; nothing when the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Device.
    pub device: String,
    /// Weight.
    pub weight: u16,
}

/// One next hop that is not used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Unusable {
    /// Gateway, if it has one.
    pub gateway: Option<IpAddr>,
    /// Device, if it is known.
    pub device: String,
    /// Why.
    pub why: String,
}

/// The source a packet leaves with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceAddress {
    /// `device`, `pod`, `service`, or `unchanged`: whatever the cluster's network makes of it.
    pub kind: String,
    /// The address, or those among which the kernel chooses.
    pub addresses: Vec<IpAddr>,
    /// `namespace/name` of the Service whose address it is.
    pub service: String,
    /// Node that owns the address.
    pub owner: String,
    /// Whether this node sends with it only while it has the permission that ends by itself.
    pub leased: bool,
}

/// What a check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// As it should be.
    #[default]
    Ok,
    /// Worth knowing.
    Note,
    /// Breaks the packet, or could.
    Fails,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Check {
    /// `helper`, `pod`, `family`, `destination`, `object`, `route`, `nextHop`, `owner`, `state`, `routing`, `answers`, `conntrack`.
    pub check: String,
    /// What was found.
    pub finding: Finding,
    /// In words, with the remedy.
    pub message: String,
}

impl Check {
    /// A check with its result.
    #[must_use]
    pub fn new(check: &str, finding: Finding, message: impl Into<String>) -> Self {
        Self { check: check.to_owned(), finding, message: message.into() }
    }
}

/// What the kernel said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KernelAnswer {
    /// The question in words of `ip`.
    pub question: String,
    /// The answer in words of `ip`.
    pub answer: String,
    /// Whether it is the answer that was expected.
    pub agrees: bool,
}

impl Explanation {
    /// Adds checks that are not there yet.
    pub fn look(&mut self, checks: impl IntoIterator<Item = Check>) {
        for check in checks {
            if !self.checks.contains(&check) {
                self.checks.push(check);
            }
        }
    }

    /// The address the pod sends a packet with to this destination.
    #[must_use]
    pub fn own_address(&self, question: &Question) -> Option<IpAddr> {
        let addresses = self.attachment.iter().flat_map(|attached| &attached.addresses);
        addresses.copied().find(|address| Family::of(*address) == Family::of(question.destination))
    }

    /// Whether nothing that was looked at breaks the packet.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.checks.iter().all(|check| check.finding != Finding::Fails) && self.kernel.iter().all(|k| k.agrees)
    }
}
