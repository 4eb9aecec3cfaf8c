//! Why a path is not taken, in words.

use super::fate::Decided;
use super::{Unusable, word};
use crate::desired::{Exit, HopState, Lane, NodeMatch};
use crate::model::{Family, NextHop};
use crate::selection::PathKey;

impl Decided<'_> {
    /// Next hops of the packet's family that are not used.
    pub(super) fn unusable(&self, exit: &Exit) -> Vec<Unusable> {
        let of_family = |hop: &NextHop| hop.gateway.is_none_or(|gateway| Family::of(gateway) == self.family);
        let open = match exit.lanes.get(&self.family) {
            Some(Lane::Open(hops)) => hops.as_slice(),
            _ => &[],
        };
        let is_used = |hop: &NextHop, state: &HopState| {
            open.iter().any(|used| used.gateway == hop.gateway && Some(&used.device) == state.device())
        };
        let told = |(hop, state): &(NextHop, HopState)| Unusable {
            gateway: hop.gateway,
            device: state.device().or(hop.device.as_ref()).map(ToString::to_string).unwrap_or_default(),
            why: why_not(exit, hop, state),
        };
        exit.hops.iter().filter(|(hop, state)| of_family(hop) && !is_used(hop, state)).map(told).collect()
    }

    /// Why nothing of its family leaves by the exit.
    pub(super) fn why_closed(&self, exit: &Exit) -> String {
        let name = &exit.route;
        if exit.node_matches == NodeMatch::Refused {
            return format!(
                "spec.nodeSelector of route {name} does not admit node {}, and no other node offers it",
                self.scene.node
            );
        }
        let unusable = self.unusable(exit);
        if unusable.is_empty() {
            return format!("route {name} has no next hop of {}: add one to spec.nextHops", word(self.family));
        }
        let each = unusable.iter().map(|hop| {
            let gateway = hop.gateway.map_or_else(|| "on-link".to_owned(), |gateway| gateway.to_string());
            format!("{gateway}: {}", hop.why)
        });
        format!("no next hop of route {name} can be used ({})", each.collect::<Vec<_>>().join("; "))
    }
}

fn why_not(exit: &Exit, hop: &NextHop, state: &HopState) -> String {
    match state {
        HopState::DeviceMissing => match &hop.device {
            Some(device) => format!("device {device} is not on this node"),
            None => "no device of this node is connected to its network".to_owned(),
        },
        HopState::DeviceDown(device) => format!("device {device} is down"),
        HopState::Unreachable(device) => {
            format!("its probes by {device} fail; health: {{mode: None}} switches probing off")
        }
        HopState::Usable(_) if exit.node_matches == NodeMatch::Refused => "this node may not be an exit".to_owned(),
        HopState::Usable(_) => "backup: others are usable".to_owned(),
    }
}

/// A path in words.
pub(super) fn described(path: &PathKey) -> String {
    match path {
        PathKey::Route { route, .. } => format!("route {route}"),
        PathKey::Address { service, route: Some(route) } => {
            format!("route {route} with the address of Service {service}")
        }
        PathKey::Address { service, route: None } => format!("the address of Service {service}"),
        PathKey::Closed => "a closed flow".to_owned(),
    }
}
