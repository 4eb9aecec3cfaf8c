//! What is said outside foca: heartbeats, editions, farewells.

use super::Membership;
use crate::editions::{Edition, NEWS_LEN, News};
use crate::seal::{Header, Kind, Refusal};

/// News in one datagram: with all headers it passes a link of 1280 bytes.
const NEWS_MAX: usize = 60;

/// In a cluster of this many peers all are told of a farewell directly.
const FEW: usize = 8;

impl Membership {
    /// Sends a heartbeat to each close peer.
    pub(super) fn greet_close(&mut self) {
        let body = self.own_news().encode();
        for node in self.close.clone() {
            self.send(Kind::Editions, node, &body);
        }
    }

    /// Tells `node`, which asks to join, of all tables.
    pub(super) fn tell_all_editions(&mut self, node: u16) {
        let tables = self.editions.lock().tables();
        for news in tables.chunks(NEWS_MAX) {
            let body = news.iter().flat_map(News::encode).collect::<Vec<_>>();
            self.send(Kind::Editions, node, &body);
        }
    }

    pub(super) fn take_editions(&mut self, header: &Header, body: &[u8]) -> Result<(), Refusal> {
        for bytes in body.chunks(NEWS_LEN) {
            let news = News::decode(bytes).ok_or(Refusal::Malformed)?;
            if news.node != header.sender {
                self.editions.lock().learn(news);
                continue;
            }
            let edition = Edition { incarnation: header.incarnation, ..news.edition };
            self.take_own_news(News { edition, ..news });
        }
        Ok(())
    }

    /// Tells the close peers, and in a small cluster all, that this node leaves.
    pub(super) fn say_leave(&mut self) {
        let few = self.peers.len() <= FEW;
        let told: Vec<_> = self.peers.keys().filter(|node| few || self.close.contains(node)).copied().collect();
        for node in told {
            self.send(Kind::Leave, node, &[]);
        }
    }
}
