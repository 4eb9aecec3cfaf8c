//! The account of a decision for one packet: who asked, who won, and why the others did not.
//!
//! Guarantees: the flow in force is the one [`super::select_admitted`] gives the pod, found by the same judgement and the
//! same order. Leaves out: what becomes of the flow's path on the node.

use std::net::IpAddr;

use crate::model::{Attachment, Family, Kind, ObjectKey, PortRange, Protocol, Rejection};
use crate::selection::decision::{self, Decision};
use crate::selection::judge::Verdict;
use crate::selection::rank::{self, Candidate};
use crate::selection::wish::{self, Subject, Wish};
use crate::selection::{Flow, FlowMatch, service};
use crate::world::World;

/// Ports an ephemeral port is looked for among, the usual ones first.
const EPHEMERAL: [PortRange; 2] = [PortRange { first: 32_768, last: u16::MAX }, PortRange { first: 1, last: 32_767 }];

/// The first packet of a flow, as its pod sends it. A port that is not said is one that no flow of the pod names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// IANA number of the transport protocol.
    pub protocol: u8,
    /// The pod's own port.
    pub own_port: Option<u16>,
    /// The far end.
    pub far: IpAddr,
    /// Its port.
    pub far_port: Option<u16>,
}

/// What one object asks for a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The author in messages, `EgressPolicy core/sip`.
    pub author: String,
    /// The flow.
    pub flow: Flow,
    /// Why it is not in force as written: the flow is closed.
    pub problem: Option<Rejection>,
}

/// A claim, or a whole object, that does not decide about the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loser {
    /// The author in messages.
    pub author: String,
    /// The flow; nothing when the object asks nothing for this pod.
    pub flow: Option<Flow>,
    /// Whether the flow matches the packet, too.
    pub matches: bool,
    /// Why it does not decide.
    pub why: String,
}

/// Who decides about a packet, and who does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// In force.
    pub winner: Option<Claim>,
    /// In the order in which flows are tried, then objects that do not concern the pod.
    pub losers: Vec<Loser>,
    /// Entries of objects that are not in force as written, for this pod.
    pub problems: Vec<Rejection>,
}

/// Says who decides about a packet of an attachment.
#[must_use]
pub fn account(world: &World, attachment: &Attachment, packet: &Packet) -> Account {
    let subject = Subject::of(world, attachment);
    let Decision { flows, refusal, .. } = decision::decide(world, attachment);
    if subject.is_host() {
        return Account::default();
    }
    let (wishes, judged) = decision::judged(world, attachment, &subject);
    let mut candidates = decision::candidates(&judged);
    candidates.sort_by(rank::precedence);
    let ports = packet.ports(candidates.iter().map(|c| &c.flow.matcher));
    let why_not = |flow: &Flow| flow.matcher.mismatch(packet.protocol, ports.0, (packet.far, ports.1));
    let in_force = flows.iter().find(|flow| why_not(flow).is_none());
    let first = candidates.iter().find(|c| why_not(&c.flow).is_none());
    let claim = |c: &Candidate| Some(claim(c, (wishes.get(c.wish)?, judged.get(c.wish)?)));
    let winner = match (in_force, first) {
        (Some(flow), Some(first)) if first.flow == *flow => claim(first),
        (Some(flow), _) => {
            Some(Claim { author: "all objects together".to_owned(), flow: flow.clone(), problem: refusal })
        }
        (None, _) => None,
    };
    let others = candidates.iter().filter(|c| !first.is_some_and(|first| std::ptr::eq(*c, first)));
    let lost = others.filter_map(|c| {
        let author = wishes.get(c.wish)?.label.clone();
        let mismatch = why_not(&c.flow);
        let why = mismatch.map_or_else(|| first.map(|first| beaten(first, c, &wishes)), |m| Some(m.to_owned()))?;
        Some(Loser { author, flow: Some(c.flow.clone()), matches: mismatch.is_none(), why })
    });
    let losers = lost.chain(bystanders(world, &subject)).collect();
    let problems = judged.iter().flatten().filter_map(|verdict| verdict.problem.clone()).collect();
    Account { winner, losers, problems }
}

impl Packet {
    /// Own and far port; where one is not said, one that is in as few ranges as can be.
    fn ports<'a>(&self, matchers: impl Iterator<Item = &'a FlowMatch> + Clone) -> (u16, u16) {
        if ![Protocol::Tcp, Protocol::Udp, Protocol::Sctp].iter().any(|p| p.number() == self.protocol) {
            return (0, 0);
        }
        let named = matchers.filter(|m| m.protocol.is_none_or(|p| p.number() == self.protocol));
        let own = || unnamed(named.clone().filter_map(|m| m.source_ports));
        let far = || unnamed(named.clone().filter_map(|m| m.destination_ports));
        (self.own_port.unwrap_or_else(own), self.far_port.unwrap_or_else(far))
    }
}

/// The first usual port outside all ranges that leave any out.
fn unnamed(ranges: impl Iterator<Item = PortRange>) -> u16 {
    let mut ranges: Vec<PortRange> = ranges.filter(|r| (r.first, r.last) != (1, u16::MAX)).collect();
    ranges.sort_by_key(|r| r.first);
    let free = |within: &PortRange| {
        let mut port = within.first;
        for range in ranges.iter().filter(|r| r.last >= within.first) {
            if range.first > port {
                break;
            }
            if range.last >= within.last {
                return None;
            }
            port = port.max(range.last + 1);
        }
        Some(port)
    };
    EPHEMERAL.iter().find_map(free).unwrap_or(EPHEMERAL[0].first)
}

fn claim(candidate: &Candidate, (wish, verdicts): (&Wish<'_>, &Vec<Verdict>)) -> Claim {
    let problem = verdicts.get(candidate.entry).and_then(|verdict| verdict.problem.clone());
    Claim { author: wish.label.clone(), flow: candidate.flow.clone(), problem }
}

/// Why the one goes before the other, in the order of [`rank::precedence`].
fn beaten(winner: &Candidate, loser: &Candidate, wishes: &[Wish<'_>]) -> String {
    let (a, b) = (rank::specificity(&winner.flow.matcher), rank::specificity(&loser.flow.matcher));
    let (Some(first), Some(second)) = (wishes.get(winner.wish), wishes.get(loser.wish)) else { return String::new() };
    let by = if a.0 != b.0 {
        "names fewer source ports"
    } else if a.1 != b.1 {
        "names fewer destination ports"
    } else if a.2 != b.2 {
        "names a longer destination prefix"
    } else if winner.wish == loser.wish {
        "stands earlier in the same object"
    } else if first.origin != second.origin {
        return format!("{} goes before {}: {}", first.origin.words(), second.origin.words(), first.label);
    } else if first.created != second.created {
        "is older"
    } else {
        "has the name that sorts first"
    };
    format!("{} {by}", first.label)
}

/// Objects of the namespace that ask for something, but not for this pod.
fn bystanders(world: &World, subject: &Subject<'_>) -> Vec<Loser> {
    let Some(namespace) = subject.namespace else { return Vec::new() };
    let labels = subject.labels();
    let missed = |kind, name: &crate::model::ObjectName, what: &str| Loser {
        author: ObjectKey { kind, name: name.clone() }.to_string(),
        flow: None,
        matches: false,
        why: format!("its {what} does not match the labels of the pod"),
    };
    let policies = wish::within(&world.policies, namespace).filter(|p| !p.pod_selector.matches(labels));
    let services =
        wish::within(&world.services, namespace).filter(|s| service::asks(s) && !service::selects(s, labels));
    let policies = policies.map(|p| missed(Kind::EgressPolicy, &p.name, "podSelector"));
    policies.chain(services.map(|s| missed(Kind::Service, &s.name, "selector"))).collect()
}

/// The flow in words, `udp source port 5060 to 192.0.2.0/24 except 192.0.2.1/32`.
impl std::fmt::Display for FlowMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let range =
            |r: PortRange| if r.first == r.last { r.first.to_string() } else { format!("{}-{}", r.first, r.last) };
        f.write_str(self.protocol.map_or("everything", Protocol::name))?;
        if let Some(ports) = self.source_ports {
            write!(f, " source port {}", range(ports))?;
        }
        if let Some(ports) = self.destination_ports {
            write!(f, " destination port {}", range(ports))?;
        }
        if let Some(network) = self.destination {
            write!(f, " to {network}")?;
        }
        let family = self.destination.map(Family::of_network);
        let except = self.except.iter().filter(|e| family.is_none_or(|f| f == Family::of_network(**e)));
        for (index, network) in except.enumerate() {
            write!(f, "{}{network}", if index == 0 { " except " } else { ", " })?;
        }
        Ok(())
    }
}
