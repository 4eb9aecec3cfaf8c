//! What a node knows and claims of one identity.

use std::collections::BTreeMap;

use super::peer::{Scene, Staying};
use super::watch::Watch;
use super::{Ballot, Claim, Config, Fitness, Identity, Millis, NodeNumber, Presence, Row, Stage, order};

/// One identity on this node.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) config: Config,
    pub(super) order: Vec<NodeNumber>,
    pub(super) device: Presence,
    /// When the last answered probe of the next hop left; `None` = it does not answer.
    pub(super) reached: Option<Millis>,
    pub(super) hop_probed: Option<Millis>,
    pub(super) ballot: Ballot,
    /// Highest epoch of anybody who owned.
    pub(super) seen: u64,
    pub(super) own: Option<Own>,
    /// Until when packets may pass although it was handed over.
    pub(super) passes: Option<Millis>,
    /// Epochs of the peers' claims this node supports.
    pub(super) promises: BTreeMap<NodeNumber, u64>,
    pub(super) watch: Watch,
    /// Since when nobody is in the way of a new claim.
    pub(super) vacant: Millis,
    /// This node does not stand before.
    pub(super) retry: Millis,
}

/// A claim of this node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    /// Epoch when it began to stand; support from then on counts.
    pub(super) since: u64,
    pub(super) epoch: u64,
    pub(super) stage: Stage,
    /// The permission to send lasts from here for a lease.
    pub(super) stamp: Millis,
    /// When standing or handing over ends.
    pub(super) deadline: Millis,
}

impl Own {
    /// Whether the kernel may send.
    pub(super) fn holds(&self) -> bool {
        self.stage != Stage::Standing
    }
}

impl Unit {
    pub(super) fn new(identity: &Identity, config: Config, now: Millis) -> Self {
        Self {
            order: order(identity, &config.candidates),
            config,
            device: Presence::Down,
            reached: None,
            hop_probed: None,
            ballot: Ballot::default(),
            seen: 0,
            own: None,
            passes: None,
            promises: BTreeMap::new(),
            watch: Watch::default(),
            vacant: now,
            retry: now,
        }
    }

    pub(super) fn alone(&self) -> bool {
        self.order.len() == 1
    }

    pub(super) fn majority(&self) -> usize {
        self.order.len() / 2 + 1
    }

    pub(super) fn holds(&self) -> bool {
        self.own.is_some_and(|own| own.holds())
    }

    /// Whether the kernel's permission is bound to the lease.
    pub(super) fn is_leased(&self) -> bool {
        self.holds() && !self.alone()
    }

    pub(super) fn fitness(&self) -> Fitness {
        let fit = self.alone() || (self.device == Presence::Up && self.reached.is_some());
        if fit { Fitness::Fit } else { Fitness::Unfit }
    }

    /// A candidate that could own, and stays.
    pub(super) fn is_able(&self, scene: &Scene<'_>) -> bool {
        self.order.contains(&scene.me) && scene.staying == Staying::Stays && self.fitness() == Fitness::Fit
    }

    pub(super) fn row(&self, scene: &Scene<'_>) -> Row {
        let able = self.is_able(scene);
        Row {
            ballot: self.ballot,
            fitness: if able { Fitness::Fit } else { Fitness::Unfit },
            claim: self.own.map(|own| Claim { epoch: own.epoch, stage: own.stage }),
            supports: self.promises.clone(),
        }
    }

    /// Whether `holder` wants `successor` to own instead.
    pub(super) fn consents(&self, scene: &Scene<'_>, holder: NodeNumber, successor: NodeNumber) -> bool {
        let stage = if holder == scene.me {
            self.own.map(|own| own.stage)
        } else {
            scene.row(holder).and_then(|row| row.claim).map(|claim| claim.stage)
        };
        stage == Some(Stage::HandingOver(successor))
    }

    /// Whom the addresses would go to, were it not for this node or the owner: live, fit, and known to be.
    pub(super) fn successor(&self, scene: &Scene<'_>, owner: NodeNumber) -> Option<NodeNumber> {
        let fit = |node: NodeNumber| scene.row(node).is_some_and(|row| row.fitness == Fitness::Fit);
        let able =
            |node: NodeNumber| if node == scene.me { self.is_able(scene) } else { scene.is_up(node) && fit(node) };
        self.order.iter().copied().find(|node| *node != owner && able(*node))
    }
}
