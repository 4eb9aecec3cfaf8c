//! Which messages are let in.
//!
//! Guarantees: only an authenticated message of a configured peer, from that peer's address, meant for this node and
//! not seen before passes; every other one is counted by its reason. Leaves out: memory over a restart of this helper.
//! A message recorded before the restart passes once more, until the sender's next one closes that door.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::key::Key;
use crate::seal::{self, Header, Refusal};

/// How far behind the newest counter a message may arrive, in messages.
pub const WINDOW: u64 = 256;

const WORDS: usize = (WINDOW / 64) as usize;

/// Which counters of one sender were seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Window {
    incarnation: u64,
    newest: u64,
    seen: [u64; WORDS],
}

impl Window {
    /// Notes (`incarnation`, `counter`); false when it is not new.
    pub fn note(&mut self, incarnation: u64, counter: u64) -> bool {
        if incarnation < self.incarnation {
            return false;
        }
        if incarnation > self.incarnation {
            *self = Self { incarnation, ..Self::default() };
        }
        if counter > self.newest {
            self.advance(counter);
        } else if self.newest - counter >= WINDOW {
            return false;
        }
        let (word, bit) = place(counter);
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        new
    }

    fn advance(&mut self, counter: u64) {
        if counter - self.newest >= WINDOW {
            self.seen = [0; WORDS];
        } else {
            for skipped in self.newest + 1..=counter {
                let (word, bit) = place(skipped);
                self.seen[word] &= !bit;
            }
        }
        self.newest = counter;
    }
}

const fn place(counter: u64) -> (usize, u64) {
    ((counter % WINDOW / 64) as usize, 1 << (counter % 64))
}

/// Refused messages since the start, by reason.
pub type Refusals = BTreeMap<Refusal, u64>;

#[derive(Debug)]
struct Known {
    address: IpAddr,
    window: Window,
}

/// Judges what arrives.
#[derive(Debug)]
pub struct Gate {
    node: u16,
    key: Key,
    peers: BTreeMap<u16, Known>,
    refusals: Refusals,
}

impl Gate {
    /// Nobody is let in before [`Gate::set_peers`].
    pub const fn new(node: u16, key: Key) -> Self {
        Self { node, key, peers: BTreeMap::new(), refusals: BTreeMap::new() }
    }

    /// Whom to let in. What was seen of a peer is kept while it stays one.
    pub fn set_peers(&mut self, peers: &BTreeMap<u16, IpAddr>) {
        let mut before = std::mem::take(&mut self.peers);
        self.peers = peers
            .iter()
            .filter(|(number, _)| **number != self.node)
            .map(|(number, address)| {
                let window = before.remove(number).map(|known| known.window).unwrap_or_default();
                (*number, Known { address: address.to_canonical(), window })
            })
            .collect();
    }

    /// The header and body of a message from `source`, once.
    ///
    /// # Errors
    /// The reason it was refused, which is counted.
    pub fn open<'a>(&mut self, source: IpAddr, message: &'a [u8]) -> Result<(Header, &'a [u8]), Refusal> {
        let opened = self.judge(source, message);
        opened.map_err(|refusal| self.count(refusal))
    }

    fn judge<'a>(&mut self, source: IpAddr, message: &'a [u8]) -> Result<(Header, &'a [u8]), Refusal> {
        let claimed = seal::peek(message)?;
        let known = self.peers.get_mut(&claimed.sender).ok_or(Refusal::UnknownSender)?;
        if known.address != source.to_canonical() {
            return Err(Refusal::UnknownSender);
        }
        let (header, body) = seal::unseal(&self.key, message)?;
        if header.receiver != self.node {
            return Err(Refusal::Misdirected);
        }
        if !known.window.note(header.incarnation, header.counter) {
            return Err(Refusal::Replayed);
        }
        Ok((header, body))
    }

    /// Counts a refusal judged elsewhere, and hands it back.
    pub fn count(&mut self, refusal: Refusal) -> Refusal {
        *self.refusals.entry(refusal).or_default() += 1;
        refusal
    }

    /// Refused messages since the start, by reason.
    pub const fn refusals(&self) -> &Refusals {
        &self.refusals
    }
}

#[cfg(test)]
mod tests;
