//! What becomes of one packet of one pod, and why.
//!
//! Guarantees: the flow that decides is selection's, exits and tables are those of the node's [`Skeleton`]; nothing is
//! decided here a second time. Leaves out: what the kernel holds at this moment, which the helper adds as [`Check`]s and
//! [`KernelAnswer`]s.

mod fate;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::desired::{PerPodRules, Skeleton};
use crate::ids::EXIT_MAIN;
use crate::model::{Attachment, DeviceName, Family, ObjectName, Rejection};
use crate::selection::{self, Account, Claim, Loser, Packet};
use crate::world::{Device, World};

use fate::{Fate, fate};

/// Most claims of others in an answer.
const LOSERS_MAX: usize = 32;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// The pod.
    pub pod: ObjectName,
    /// Transport protocol.
    pub protocol: Transport,
    /// The pod's own port; absent = one that no object names.
    pub source_port: Option<u16>,
    /// The far end.
    pub destination: IpAddr,
    /// Its port; absent = one that no object names.
    pub destination_port: Option<u16>,
}

/// Protocol of a packet that is asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    #[default]
    Udp,
    /// SCTP.
    Sctp,
    /// ICMP of the destination's family.
    Icmp,
}

impl Transport {
    /// IANA protocol number.
    #[must_use]
    pub fn number(self, family: Family) -> u8 {
        match (self, family) {
            (Self::Tcp, _) => 6,
            (Self::Udp, _) => 17,
            (Self::Sctp, _) => 132,
            (Self::Icmp, Family::V4) => 1,
            (Self::Icmp, Family::V6) => 58,
        }
    }
}

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

/// Everything an explanation depends on.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Objects.
    pub world: &'a World,
    /// This node's name.
    pub node: &'a str,
    /// What the last reconcile built.
    pub skeleton: &'a Skeleton,
    /// This node's devices.
    pub devices: &'a BTreeMap<DeviceName, Device>,
    /// Whether per-pod rules exist.
    pub mode: PerPodRules,
    /// Nodes that own addresses of Services, as far as they are known.
    pub owners: &'a BTreeMap<ObjectName, String>,
    /// Services for whose addresses this node needs a permission.
    pub leased: &'a BTreeSet<ObjectName>,
}

/// Explains a packet of an attachment.
#[must_use]
pub fn explain(scene: &Scene<'_>, attachment: &Attachment, question: &Question) -> Explanation {
    let family = Family::of(question.destination);
    let mut told = Explanation {
        node: scene.node.to_owned(),
        pod: question.pod.to_string(),
        attachment: Some(attached(attachment)),
        ..Explanation::default()
    };
    let Some(own) = told.own_address(question) else {
        let message = format!("the pod has no {} address: it cannot send this packet", word(family));
        told.summary.clone_from(&message);
        told.checks.push(Check::new("family", Finding::Fails, message));
        return told;
    };
    let packet = Packet {
        protocol: question.protocol.number(family),
        own_port: question.source_port,
        far: question.destination,
        far_port: question.destination_port,
    };
    let account = selection::account(scene.world, attachment, &packet);
    let Fate { outcome, summary, way, source: whose, checks } = fate(scene, &account, (question.destination, family));
    told.tell(&account);
    told.look(checks);
    (told.outcome, told.summary) = (outcome, summary);
    told.way = way.map(|way| through_door(scene, attachment, way));
    told.source = Some(source::source(scene, whose, (own, told.way.as_ref())));
    told
}

/// What is not selected of a pod with rules of its own is marked for the main table.
fn through_door(scene: &Scene<'_>, attachment: &Attachment, way: Way) -> Way {
    let has_rules =
        || scene.mode == PerPodRules::Present && !selection::select_admitted(scene.world, attachment).flows.is_empty();
    if way.exit == 0 && has_rules() { Way { exit: EXIT_MAIN, ..way } } else { way }
}

impl Explanation {
    fn tell(&mut self, account: &Account) {
        let decider = |claim: &Claim| Decider { object: claim.author.clone(), flow: claim.flow.matcher.to_string() };
        self.decided_by = account.winner.as_ref().map(decider);
        let other = |loser: &Loser| Other {
            object: loser.author.clone(),
            flow: loser.flow.as_ref().map(|flow| flow.matcher.to_string()).unwrap_or_default(),
            matches: loser.matches,
            why: loser.why.clone(),
        };
        // Those that lost first: they are what is asked for.
        let (lost, apart): (Vec<&Loser>, Vec<&Loser>) = account.losers.iter().partition(|loser| loser.matches);
        self.others = lost.into_iter().chain(apart).take(LOSERS_MAX).map(other).collect();
        let problem = |problem: &Rejection| Check::new("object", Finding::Fails, problem.to_string());
        self.look(account.problems.iter().map(problem));
    }

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

fn attached(attachment: &Attachment) -> Attached {
    Attached {
        container: attachment.container_id.clone(),
        interface: attachment.interface.clone(),
        addresses: attachment.addresses.clone(),
    }
}

fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}
