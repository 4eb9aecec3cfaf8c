//! What `status` tells.

use std::collections::{BTreeMap, BTreeSet};

use sortie_core::desired::{Exit, HopState, Lane, PerPodRules};
use sortie_core::model::{Attachment, NextHop, Rejection};
use sortie_core::selection::{self, Condition};
use sortie_ipc::{RouteStatus, StatusReport};
use sortie_kernel::Platform;

use super::Node;

/// Most conditions in one report.
const LINES_MAX: usize = 2000;

impl<P: Platform> Node<P> {
    pub(super) async fn report(&mut self) -> StatusReport {
        let dropped = self.platform.counters().await.unwrap_or_default();
        StatusReport {
            node: self.settings.node.clone(),
            ready: self.ready.is_ok(),
            reason: self.ready.as_ref().err().cloned().unwrap_or_default(),
            steering: if self.mode == PerPodRules::Present { "rules" } else { "marks" }.to_owned(),
            attachments: self.attachments.len() + self.adopted.len(),
            selected: self.members().filter(|m| !m.elements.is_empty()).count(),
            routes: self.skeleton.iter().flat_map(|s| s.exits.values()).map(route).collect(),
            addresses: self.addresses(),
            conditions: shortened(self.conditions()),
            dropped,
            // The thread of ownership knows.
            refused: BTreeMap::new(),
            repairs: self.repairs,
        }
    }

    /// Logs each thing that is refused or does not hold once, when it begins.
    pub(super) fn tell(&mut self) {
        let now: BTreeSet<String> = self.conditions().into_iter().filter(|line| !line.contains("=True ")).collect();
        now.difference(&self.told).for_each(|line| log::warn!("{line}"));
        self.told.difference(&now).for_each(|line| log::info!("no longer: {line}"));
        self.told = now;
    }

    fn conditions(&self) -> Vec<String> {
        let attachments: Vec<&Attachment> = self.held().collect();
        let decided = selection::conditions(&self.world, &attachments);
        let exits = self.skeleton.iter().flat_map(|s| s.conditions.iter().cloned());
        let refused = self
            .refused
            .iter()
            .map(|r| &r.rejection)
            .chain(self.unnumbered.iter().chain(&self.ungiven).map(|(_, r)| r))
            .map(refusal);
        let refused = refused.chain(self.ownership());
        decided.into_iter().chain(exits).map(|c| line(&c)).chain(refused).collect()
    }
}

/// The whole report must fit in one message.
fn shortened(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(LINES_MAX);
    if more > 0 {
        lines.truncate(LINES_MAX);
        lines.push(format!("and {more} more"));
    }
    lines
}

fn line(condition: &Condition) -> String {
    let Condition { object, kind, holds, reason, message } = condition;
    format!("{object}: {kind}={} {reason:?} {message}", if *holds { "True" } else { "False" })
}

fn refusal(rejection: &Rejection) -> String {
    let Rejection { reason, object, field, message, remedy } = rejection;
    format!("{object}: Accepted=False {reason:?} {field}: {message}; {remedy}")
}

fn route(exit: &Exit) -> RouteStatus {
    let in_use = exit.lanes.values().flat_map(|lane| if let Lane::Open(hops) = lane { hops.as_slice() } else { &[] });
    let gateway = |g: Option<std::net::IpAddr>| g.map_or_else(|| "on-link".to_owned(), |g| g.to_string());
    let mut next_hops: Vec<String> =
        in_use.map(|h| format!("{} dev {} weight {}", gateway(h.gateway), h.device, h.weight)).collect();
    next_hops.sort();
    next_hops.dedup();
    let unusable = |(hop, state): &(NextHop, HopState)| {
        let why = match state {
            HopState::Usable(_) => return None,
            HopState::DeviceMissing => "DeviceMissing".to_owned(),
            HopState::DeviceDown(d) => format!("DeviceMissing {d} is down"),
            HopState::Unreachable(d) => format!("NextHopUnreachable by {d}"),
        };
        Some(format!("{}: {why}", gateway(hop.gateway)))
    };
    RouteStatus {
        name: exit.route.clone(),
        table: exit.table,
        exit: exit.number,
        next_hops,
        unusable: exit.hops.iter().filter_map(unusable).collect(),
    }
}
