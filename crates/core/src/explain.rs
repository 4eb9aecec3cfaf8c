//! What becomes of one packet of one pod, and why.
//!
//! Guarantees: the flow that decides is selection's, exits and tables are those of the node's [`Skeleton`]; nothing is
//! decided here a second time. Leaves out: what the kernel holds at this moment, which the helper adds as [`Check`]s and
//! [`KernelAnswer`]s.

mod answer;
mod fate;
mod source;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::desired::{PerPodRules, Skeleton};
use crate::ids::EXIT_MAIN;
use crate::model::{Attachment, DeviceName, Family, ObjectName, Rejection};
use crate::selection::{self, Account, Claim, Loser, Packet};
use crate::world::{Device, World};

pub use answer::{
    Attached, Check, Decider, Explanation, Finding, Hop, KernelAnswer, Other, Outcome, SourceAddress, Unusable, Way,
};
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
