//! Addresses of Services: who gets which, and what this node owns of them.
//!
//! Guarantees: what was given is on disk before it is used; addresses that more than one node could own are owned by
//! none. Leaves out: answering on the wire ([`crate::run`]).

use std::collections::BTreeSet;

use sortie_core::address::give;
use sortie_core::candidates::candidates;
use sortie_core::model::{ObjectName, Reason, Service};
use sortie_ipc::AddressStatus;
use sortie_kernel::Platform;

use super::{Node, chain};

impl<P: Platform> Node<P> {
    /// Addresses for the world just taken. What cannot be written is not given: after a restart it might be given to
    /// somebody else.
    pub(super) fn give_addresses(&mut self) {
        let (given, refused) = give(&self.given, &self.world);
        self.ungiven = refused;
        if given != self.given {
            match self.store.save_addresses(&given) {
                Ok(()) => self.given = given,
                Err(error) => log::error!("addresses cannot be written and are not given error={}", chain(&error)),
            }
        }
        for service in self.world.services.values_mut().filter(|service| service.is_ours()) {
            service.addresses = self.given.get(&service.name).cloned().unwrap_or_default();
        }
    }

    /// Services whose only candidate is this node.
    pub(super) fn to_own(&self) -> BTreeSet<ObjectName> {
        let mine = |service: &&Service| self.sole_candidate(service).as_deref() == Some(&self.settings.node);
        self.with_addresses().filter(mine).map(|service| service.name.clone()).collect()
    }

    fn with_addresses(&self) -> impl Iterator<Item = &Service> {
        self.world.services.values().filter(|service| service.is_ours() && !service.addresses.is_empty())
    }

    /// The node that owns the Service's addresses because no other could. A node without manifest is alone.
    fn sole_candidate(&self, service: &Service) -> Option<String> {
        if self.world.nodes.is_empty() {
            return Some(self.settings.node.clone());
        }
        let mut nodes = candidates(&self.world, service).into_iter();
        nodes.next().filter(|_| nodes.next().is_none())
    }

    pub(super) fn addresses(&self) -> Vec<AddressStatus> {
        let on = |service: &Service| {
            let answers = self.answering.iter().filter(|answer| service.addresses.contains(&answer.address));
            let devices: BTreeSet<String> = answers.map(|answer| answer.device.to_string()).collect();
            devices.into_iter().collect()
        };
        let status = |service: &Service| AddressStatus {
            service: service.name.to_string(),
            addresses: service.addresses.clone(),
            owner: self.sole_candidate(service),
            devices: on(service),
        };
        self.with_addresses().map(status).collect()
    }

    /// Conditions `Owned` of Services with addresses.
    pub(super) fn ownership(&self) -> impl Iterator<Item = String> {
        self.with_addresses().map(|service| {
            let (holds, reason, message) = self.owned_by(service);
            let holds = if holds { "True" } else { "False" };
            format!("Service {}: Owned={holds} {reason:?} {message}", service.name)
        })
    }

    fn owned_by(&self, service: &Service) -> (bool, Reason, String) {
        let Some(node) = self.sole_candidate(service) else {
            let count = candidates(&self.world, service).len();
            let message = match count {
                0 => "no node matches the selectors of its pools and routes".to_owned(),
                _ => format!(
                    "{count} nodes could own its addresses and nobody does: let nodeSelector of its AddressPool or route match one"
                ),
            };
            return (false, Reason::NoExitNode, message);
        };
        let answered = self.answering.iter().any(|answer| service.addresses.contains(&answer.address));
        if node == self.settings.node && !answered {
            let message =
                "no device of this node answers for its addresses: name one in spec.devices of the AddressPool";
            return (true, Reason::DeviceMissing, message.to_owned());
        }
        (true, Reason::Accepted, format!("by node {node}"))
    }
}
