//! What this node knows of its peers, as seen by one identity.

use std::collections::BTreeMap;

use super::{Identity, LEASE, MARGIN, Millis, NodeNumber, Presence, Row, Table};

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) presence: Presence,
    pub(super) table: Option<Table>,
    /// Largest version in any of its messages.
    pub(super) version: u64,
    /// When its last question was received.
    pub(super) asked: Option<Millis>,
    /// Stamp of our question it answered last, and the version of its table then.
    pub(super) answered: Option<(Millis, u64)>,
}

impl Default for Peer {
    fn default() -> Self {
        Self { presence: Presence::Down, table: None, version: 0, asked: None, answered: None }
    }
}

/// The moment, and the node itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) me: NodeNumber,
    pub(super) now: Millis,
    /// End of the time in which promises made before a restart may still bind.
    pub(super) bound_until: Millis,
    pub(super) staying: Staying,
}

/// All peers and the moment, for a decision about one identity.
pub(super) struct Scene<'a> {
    pub(super) moment: Moment,
    pub(super) identity: &'a Identity,
    /// With what each states on the identity.
    peers: Vec<(NodeNumber, &'a Peer, Option<&'a Row>)>,
}

impl std::ops::Deref for Scene<'_> {
    type Target = Moment;
    fn deref(&self) -> &Moment {
        &self.moment
    }
}

/// Whether the node was asked to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Staying {
    Stays,
    Leaves,
}

impl<'a> Scene<'a> {
    pub(super) fn new(moment: Moment, identity: &'a Identity, peers: &'a BTreeMap<NodeNumber, Peer>) -> Self {
        let row = |peer: &'a Peer| peer.table.as_ref()?.rows.get(identity);
        let peers = peers.iter().map(|(node, peer)| (*node, peer, row(peer))).collect();
        Self { moment, identity, peers }
    }
    fn peer(&self, node: NodeNumber) -> Option<(&'a Peer, Option<&'a Row>)> {
        self.peers.iter().find(|known| known.0 == node).map(|known| (known.1, known.2))
    }
    pub(super) fn row(&self, node: NodeNumber) -> Option<&'a Row> {
        self.peer(node)?.1
    }
    pub(super) fn is_up(&self, node: NodeNumber) -> bool {
        self.peer(node).is_some_and(|(peer, _)| peer.presence == Presence::Up)
    }
    /// Until when the peer's last question binds who supports it.
    pub(super) fn promise_to(&self, node: NodeNumber) -> Option<Millis> {
        let until = self.peer(node)?.0.asked?.plus(LEASE + MARGIN);
        (until > self.now).then_some(until)
    }
    /// Stamp of our question that the peer answered while supporting our claim of `since` or later.
    pub(super) fn supported(&self, node: NodeNumber, since: u64) -> Option<Millis> {
        let (peer, row) = self.peer(node)?;
        let (stamp, version) = peer.answered?;
        let current = peer.table.as_ref().is_some_and(|table| table.version == version);
        let epoch = row?.supports.get(&self.me)?;
        (current && *epoch >= since).then_some(stamp)
    }
    /// Rows of the peers on this identity.
    pub(super) fn rows(&self) -> impl Iterator<Item = (NodeNumber, &'a Row)> {
        self.peers.iter().filter_map(|(node, _, row)| Some((*node, (*row)?)))
    }
}
