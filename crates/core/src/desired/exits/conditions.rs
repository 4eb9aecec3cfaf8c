//! What a route's status says of its exit on this node.

use super::{Exit, HopState, NodeMatch};
use crate::model::{Kind, NextHop, ObjectKey, ObjectName, Reason};
use crate::selection::Condition;

impl Exit {
    /// Conditions `Accepted` and `NextHopsReachable` of the route on this node.
    pub(in crate::desired) fn conditions(&self) -> Vec<Condition> {
        let name = ObjectName { namespace: String::new(), name: self.route.clone() };
        let object = ObjectKey { kind: Kind::ServiceOutboundRoute, name };
        let (holds, reason, message) = self.reachability();
        vec![Condition { object, kind: "NextHopsReachable", holds, reason, message }]
    }

    fn reachability(&self) -> (bool, Reason, String) {
        if self.is_open() {
            let broken = self.broken();
            let message = if broken.is_empty() { "every next hop is usable".to_owned() } else { broken.join("; ") };
            return (true, Reason::Accepted, message);
        }
        if self.node_matches == NodeMatch::Refused {
            let message =
                "spec.nodeSelector leaves this node out: pods here have no exit, label the node or move the pods";
            return (false, Reason::NoExitNode, message.to_owned());
        }
        let message = self.broken().join("; ");
        if self.devices.is_empty() {
            return (false, Reason::NoExitNode, format!("{message}; this node cannot be an exit"));
        }
        (false, Reason::NextHopUnreachable, message)
    }

    /// One sentence for each next hop that cannot be used.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.hops.iter().enumerate().filter_map(|(index, (hop, state))| broken_hop(index, hop, state)).collect()
    }
}

fn broken_hop(index: usize, hop: &NextHop, state: &HopState) -> Option<String> {
    let gateway = hop.gateway.map_or_else(|| "on-link".to_owned(), |g| g.to_string());
    let why = match state {
        HopState::Usable(_) => return None,
        HopState::DeviceMissing => match &hop.device {
            Some(device) => format!("device {device} is not on this node"),
            None => "no device of this node is connected to it".to_owned(),
        },
        HopState::DeviceDown(device) => format!("device {device} is down"),
        HopState::Unreachable(device) => format!("does not answer on {device}"),
    };
    Some(format!("spec.nextHops[{index}] ({gateway}): {why}"))
}
