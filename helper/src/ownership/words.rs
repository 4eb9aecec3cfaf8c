//! What nodes tell each other: their tables, and beside them what they do for each other.
//!
//! Guarantees: a node speaks for itself only. Leaves out: how the words travel (`sortie-peer`), and what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sortie_core::ownership::{NodeNumber, Presence, Table};
use sortie_core::selection::PathKey;
use sortie_core::steering::Offer;
use sortie_kernel::announce::Mac;

use super::probes::Known;

/// What a node tells its peers.
#[derive(Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) table: Table,
    /// Link addresses of its devices, by which it is known on the wire.
    pub(super) links: BTreeSet<[u8; 6]>,
    /// Its numbers for paths that leave by it.
    pub(super) offer: Vec<(PathKey, u16)>,
    /// Paths with addresses that only pods of that node ask for: an owner has to number them.
    pub(super) wanted: BTreeSet<PathKey>,
}

/// What this node does for others, and wants from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dealings {
    pub(crate) offer: Offer,
    pub(crate) wanted: BTreeSet<PathKey>,
}

/// What was heard of the others.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) known: Known,
    live: BTreeSet<u16>,
    offers: BTreeMap<u16, Arc<Offer>>,
    wanted: BTreeMap<u16, BTreeSet<PathKey>>,
}

impl Heard {
    pub(super) fn presence(&mut self, node: u16, presence: Presence) {
        match presence {
            Presence::Up => drop(self.live.insert(node)),
            Presence::Down => drop(self.live.remove(&node)),
        }
    }

    /// How many are alive.
    pub(super) fn alive(&self) -> usize {
        self.live.len()
    }

    /// Takes in a node's words and gives its table.
    pub(super) fn learn(&mut self, node: u16, bytes: &[u8]) -> anyhow::Result<Table> {
        let told = || format!("table of node {node}");
        let words = serde_json::from_slice::<Published>(bytes).with_context(told)?;
        anyhow::ensure!(words.table.node.0 == node, "{} speaks for node {}", told(), words.table.node.0);
        self.known.learn(NodeNumber(node), words.links.into_iter().map(Mac));
        self.offers.insert(node, Arc::new(words.offer.into_iter().collect()));
        self.wanted.insert(node, words.wanted);
        Ok(words.table)
    }

    /// What the live ones offer.
    pub(super) fn offers(&self) -> BTreeMap<u16, Arc<Offer>> {
        self.offers.iter().filter(|(node, _)| self.live.contains(node)).map(|(n, o)| (*n, Arc::clone(o))).collect()
    }

    /// What any of them wants; one that is not heard for a moment still does.
    pub(super) fn wanted(&self) -> BTreeSet<PathKey> {
        self.wanted.values().flatten().cloned().collect()
    }
}
