//! Which edition of its claim table each node has.
//!
//! Guarantees: of a node, only a later edition replaces what is known, so that news may come late, twice and by any
//! way. Leaves out: the tables themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foca::{BroadcastHandler, Invalidates};

use crate::identity::Life;

/// An edition of a node's claim table: editions of a later incarnation are later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Edition {
    /// Which run of the node's helper it is from.
    pub incarnation: u64,
    /// Which table of that run; 0 is none at all.
    pub version: u64,
}

/// Bytes of a node and its edition.
pub(crate) const NEWS_LEN: usize = 18;

/// A node and its edition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) node: u16,
    pub(crate) edition: Edition,
}

impl News {
    pub(crate) fn encode(&self) -> [u8; NEWS_LEN] {
        let mut bytes = [0; NEWS_LEN];
        bytes[..2].copy_from_slice(&self.node.to_be_bytes());
        bytes[2..10].copy_from_slice(&self.edition.incarnation.to_be_bytes());
        bytes[10..].copy_from_slice(&self.edition.version.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (node, rest) = bytes.split_first_chunk()?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let edition = Edition {
            incarnation: u64::from_be_bytes(*incarnation),
            version: u64::from_be_bytes(rest.try_into().ok()?),
        };
        Some(Self { node: u16::from_be_bytes(*node), edition })
    }
}

impl Invalidates for News {
    fn invalidates(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

/// The latest edition known of each node, and which of them nobody was told yet.
#[derive(Debug, Default)]
pub(crate) struct Editions {
    latest: BTreeMap<u16, Edition>,
    fresh: BTreeSet<u16>,
    /// Whose news are taken.
    nodes: BTreeSet<u16>,
}

impl Editions {
    /// Takes news; false when there is nothing new in it.
    pub(crate) fn learn(&mut self, news: News) -> bool {
        let known = self.latest.get(&news.node);
        if !self.nodes.contains(&news.node) || known.is_some_and(|known| *known >= news.edition) {
            return false;
        }
        self.latest.insert(news.node, news.edition);
        self.fresh.insert(news.node);
        true
    }

    /// Whose news to take from now on; what is known of others is forgotten.
    pub(crate) fn set_nodes(&mut self, nodes: BTreeSet<u16>) {
        self.latest.retain(|node, _| nodes.contains(node));
        self.fresh.retain(|node| nodes.contains(node));
        self.nodes = nodes;
    }

    /// What was learned since the last call.
    pub(crate) fn take_fresh(&mut self) -> Vec<News> {
        let fresh = std::mem::take(&mut self.fresh);
        fresh.into_iter().filter_map(|node| self.get(node)).collect()
    }

    pub(crate) fn get(&self, node: u16) -> Option<News> {
        self.latest.get(&node).map(|edition| News { node, edition: *edition })
    }

    /// Of every node that has a table.
    pub(crate) fn tables(&self) -> Vec<News> {
        let news = self.latest.iter().map(|(node, edition)| News { node: *node, edition: *edition });
        news.filter(|news| news.edition.version > 0).collect()
    }
}

/// [`Editions`] in the hands of both foca, which spreads them, and the membership.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Editions>>);

impl Shared {
    /// Held for a lookup at a time and never by two threads for long.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Editions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A broadcast that is no news.
#[derive(Debug, thiserror::Error)]
#[error("broadcast is not an edition")]
pub(crate) struct NotNews;

impl BroadcastHandler<Life> for Shared {
    type Key = News;
    type Error = NotNews;

    fn receive_item(&mut self, data: &[u8], sender: Option<&Life>) -> Result<Option<News>, NotNews> {
        let news = News::decode(data).ok_or(NotNews)?;
        let own = sender.is_none();
        Ok((own || self.lock().learn(news)).then_some(news))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(incarnation: u64, version: u64) -> News {
        News { node: 3, edition: Edition { incarnation, version } }
    }

    fn editions() -> Editions {
        let mut editions = Editions::default();
        editions.set_nodes(BTreeSet::from([3]));
        editions
    }

    #[test]
    fn news_read_back_as_they_were_written() {
        assert_eq!(News::decode(&news(1 << 40, 7).encode()), Some(news(1 << 40, 7)));
        assert_eq!(News::decode(&[0; NEWS_LEN - 1]), None);
        assert_eq!(News::decode(&[0; NEWS_LEN + 1]), None);
    }

    #[test]
    fn only_a_later_edition_is_news() {
        let mut editions = editions();
        let learned = [news(2, 5), news(2, 5), news(2, 4), news(1, 9), news(3, 0)].map(|news| editions.learn(news));
        assert_eq!(learned, [true, false, false, false, true]);
        assert_eq!(editions.take_fresh(), [news(3, 0)]);
        assert_eq!(editions.take_fresh(), []);
        assert_eq!(editions.tables(), []);
    }

    #[test]
    fn news_of_a_node_that_is_no_peer_are_not_taken() {
        assert!(!editions().learn(News { node: 4, ..news(1, 1) }));
    }
}
