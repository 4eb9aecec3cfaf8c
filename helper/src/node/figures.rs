//! What this node's part of the metrics is.

use std::collections::BTreeMap;

use sortie_core::desired::{Exit, HopState};
use sortie_core::model::ObjectName;
use sortie_kernel::Platform;

use super::Node;
use crate::metrics::Figures;

impl<P: Platform> Node<P> {
    /// Everything this node knows by itself.
    pub(crate) async fn figures(&mut self) -> Figures {
        let dropped = self.platform.counters().await.unwrap_or_default();
        let exits = || self.skeleton.iter().flat_map(|skeleton| skeleton.exits.values());
        Figures {
            ready: self.ready.is_ok(),
            attachments: self.attachments.len(),
            adopted: self.adopted.len(),
            selected: self.members().filter(|member| !member.elements.is_empty()).count(),
            refused_objects: self.refused.len(),
            next_hops: exits().map(|exit| (exit.route.clone(), hops(exit))).collect(),
            open_routes: exits().filter(|exit| exit.is_open()).count(),
            dropped,
            addresses: self.holders(),
            kernel: self.kernel_objects(),
            repairs: self.repairs,
            ..Figures::default()
        }
    }

    /// Services whose addresses this node owns.
    pub(crate) fn owned(&self) -> &std::collections::BTreeSet<ObjectName> {
        &self.owned
    }

    fn holders(&self) -> BTreeMap<&'static str, usize> {
        let mut found = BTreeMap::from([("here", 0), ("elsewhere", 0), ("nobody", 0)]);
        for held in self.addresses() {
            let owner = match held.owner {
                Some(owner) if owner == self.settings.node => "here",
                Some(_) => "elsewhere",
                None => "nobody",
            };
            *found.entry(owner).or_default() += held.addresses.len();
        }
        found
    }

    /// As they were read or changed last.
    fn kernel_objects(&self) -> BTreeMap<&'static str, usize> {
        let state = &self.believed;
        let tables = || state.nft.iter().chain(&state.frames);
        BTreeMap::from([
            ("rule", state.rules.len()),
            ("route", state.routes.len()),
            ("nft_chain", tables().map(|table| table.chains.len()).sum()),
            ("nft_element", tables().flat_map(|table| table.maps.values()).map(|map| map.elements.len()).sum()),
        ])
    }
}

/// Usable ones and the others.
fn hops(exit: &Exit) -> (usize, usize) {
    let usable = exit.hops.iter().filter(|(_, state)| matches!(state, HopState::Usable(_))).count();
    (usable, exit.hops.len() - usable)
}
