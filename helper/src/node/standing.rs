//! What Services should say of their owner and of the traffic of their pods.
//!
//! Guarantees: of a Service that another node owns nothing is said but that. Leaves out: who writes it, and what the API says
//! already ([`crate::kubernetes`]).

use sortie_core::model::{Kind, Reason, Service};
use sortie_core::selection::asks;
use sortie_kernel::Platform;

use super::Node;
use super::entries::{Why, no_way};
use crate::due::{Standing, Standings, Verdict};

impl<P: Platform> Node<P> {
    /// Of all Services that have to do with us; nothing before the kernel was read.
    pub(super) fn standings(&self) -> Option<Standings> {
        self.skeleton.as_ref()?;
        let mut found = Standings::default();
        for service in self.world.services.values().filter(|service| service.is_ours() || asks(service)) {
            match self.standing(service) {
                Some(standing) => drop(found.here.insert(service.name.clone(), standing)),
                None => drop(found.elsewhere.insert(service.name.clone())),
            }
        }
        Some(found)
    }

    /// Nothing of a Service that another node owns.
    fn standing(&self, service: &Service) -> Option<Standing> {
        let has_addresses = service.is_ours() && !service.addresses.is_empty();
        let owner = if has_addresses { self.owner(service) } else { None };
        if owner.as_ref().is_some_and(|owner| *owner != self.settings.node) {
            return None;
        }
        let ready = match self.hindrance(service) {
            Some((reason, message)) => Verdict { holds: false, reason, message },
            None => {
                let message = format!("pods leave with its addresses by node {}", self.settings.node);
                Verdict { holds: true, reason: Reason::Programmed, message }
            }
        };
        Some(Standing { uid: service.meta.uid.clone(), owner, ready })
    }

    fn hindrance(&self, service: &Service) -> Option<Why> {
        let judged = self.judged.get(&Kind::Service).and_then(|services| services.get(&service.name));
        if let Some(accepted) = judged.map(|judged| &judged.accepted).filter(|accepted| !accepted.holds) {
            return Some((accepted.reason, accepted.message.clone()));
        }
        if let Some((_, refused)) = self.ungiven.iter().find(|(key, _)| key.name == service.name) {
            let Verdict { reason, message, .. } = refused.into();
            return Some((reason, message));
        }
        if !service.is_ours() {
            let message =
                format!("its class is not {}: addresses of other load balancers are not used", Service::CLASS);
            return Some((Reason::NoAddress, message));
        }
        if service.addresses.is_empty() {
            return Some((Reason::Pending, "no address was given yet".to_owned()));
        }
        match self.owned_by(service) {
            (true, Reason::Accepted, _) => self.unsettled().or_else(|| self.shut(service)),
            (_, reason, message) => Some((reason, message)),
        }
    }

    /// The first route of the Service by which nothing leaves here.
    fn shut(&self, service: &Service) -> Option<Why> {
        let skeleton = self.skeleton.as_ref()?;
        let mut exits = self.candidates.routes(&service.name).filter_map(|route| skeleton.exits.get(route));
        exits.find(|exit| !exit.is_open()).map(no_way)
    }
}
