//! The envelope of every message between helpers.
//!
//! Guarantees: sender, receiver, the sender's incarnation, a counter, the kind and the body are under one HMAC-SHA256,
//! compared in constant time; no two messages of one incarnation to one receiver have the same counter, but those of one
//! stream. Leaves out:
//! secrecy (a body can be read on the wire) and order, which [`Gate`](crate::Gate) judges.
//!
//! Layout, big endian: version (1), kind (1), sender (2), receiver (2), incarnation (8), counter (8), body, code (32).

use std::collections::BTreeMap;

use crate::key::{Key, MAC_LEN};

/// Version of the envelope and of all bodies.
pub const VERSION: u8 = 1;

/// Bytes before the body.
const HEAD: usize = 22;

/// Bytes an envelope adds to a body.
pub const OVERHEAD: usize = HEAD + MAC_LEN;

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Membership traffic, by datagram.
    Swim,
    /// Table editions known to the sender, its own first; also the heartbeat among close peers.
    Editions,
    /// The sender leaves.
    Leave,
    /// Asks for the receiver's table, by stream.
    Ask,
    /// The sender's table, by stream.
    Answer,
    /// What the helpers say to each other, by datagram.
    Note,
    /// Wants to hear what the receiver tells, by stream.
    Follow,
    /// A part of what the sender tells, by stream.
    Feed,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Swim => 1,
            Self::Editions => 2,
            Self::Leave => 3,
            Self::Ask => 4,
            Self::Answer => 5,
            Self::Note => 6,
            Self::Follow => 7,
            Self::Feed => 8,
        }
    }

    const fn decode(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Swim),
            2 => Some(Self::Editions),
            3 => Some(Self::Leave),
            4 => Some(Self::Ask),
            5 => Some(Self::Answer),
            6 => Some(Self::Note),
            7 => Some(Self::Follow),
            8 => Some(Self::Feed),
            _ => None,
        }
    }
}

/// What stands before a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the body is.
    pub kind: Kind,
    /// Node number of the sender.
    pub sender: u16,
    /// Node number of the receiver.
    pub receiver: u16,
    /// Which run of the sender's helper this is; higher is later.
    pub incarnation: u64,
    /// Place among the messages of this incarnation to this receiver, from 1.
    pub counter: u64,
}

/// Why a message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// No envelope, an unknown kind, or a body that is not of its kind.
    #[error("malformed")]
    Malformed,
    /// Another version of the envelope.
    #[error("wrong version")]
    WrongVersion,
    /// Not a configured peer, or not from that peer's address.
    #[error("unknown sender")]
    UnknownSender,
    /// Meant for another node.
    #[error("misdirected")]
    Misdirected,
    /// The code does not fit: changed on the way, or another key.
    #[error("forged")]
    Forged,
    /// Seen before, too old to tell, or of an earlier incarnation.
    #[error("replayed")]
    Replayed,
}

/// The header of a message, taken at its word.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::WrongVersion`].
pub(crate) fn peek(message: &[u8]) -> Result<Header, Refusal> {
    if message.first().is_some_and(|version| *version != VERSION) {
        return Err(Refusal::WrongVersion);
    }
    if message.len() < OVERHEAD {
        return Err(Refusal::Malformed);
    }
    Ok(Header {
        kind: Kind::decode(message[1]).ok_or(Refusal::Malformed)?,
        sender: u16::from_be_bytes([message[2], message[3]]),
        receiver: u16::from_be_bytes([message[4], message[5]]),
        incarnation: number(&message[6..14]),
        counter: number(&message[14..22]),
    })
}

/// The header and the body of a message whose code fits.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::WrongVersion`], [`Refusal::Forged`].
pub fn unseal<'a>(key: &Key, message: &'a [u8]) -> Result<(Header, &'a [u8]), Refusal> {
    let header = peek(message)?;
    let (signed, code) = message.split_at(message.len() - MAC_LEN);
    if !key.is_code(signed, code) {
        return Err(Refusal::Forged);
    }
    Ok((header, &signed[HEAD..]))
}

/// `body` in an envelope.
pub fn seal(key: &Key, header: &Header, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(OVERHEAD + body.len());
    message.extend([VERSION, header.kind.code()]);
    message.extend(header.sender.to_be_bytes());
    message.extend(header.receiver.to_be_bytes());
    message.extend(header.incarnation.to_be_bytes());
    message.extend(header.counter.to_be_bytes());
    message.extend(body);
    message.extend(key.code(&message));
    message
}

pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Writes the headers of one incarnation of one helper.
#[derive(Debug)]
pub struct Sender {
    node: u16,
    incarnation: u64,
    counters: BTreeMap<u16, u64>,
}

impl Sender {
    /// For `node`; `incarnation` must be higher than in any earlier run.
    pub const fn new(node: u16, incarnation: u64) -> Self {
        Self { node, incarnation, counters: BTreeMap::new() }
    }

    /// The header of the next message to `receiver`.
    pub fn header(&mut self, kind: Kind, receiver: u16) -> Header {
        let counter = self.counters.entry(receiver).or_default();
        *counter += 1;
        Header { kind, sender: self.node, receiver, incarnation: self.incarnation, counter: *counter }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> Key {
        Key::new(&[byte; 32]).unwrap()
    }

    fn message(body: &[u8]) -> Vec<u8> {
        seal(&key(1), &Sender::new(3, 99).header(Kind::Editions, 4), body)
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key() {
        let sealed = message(b"claims");
        let (header, body) = unseal(&key(1), &sealed).unwrap();
        assert_eq!(header, Header { kind: Kind::Editions, sender: 3, receiver: 4, incarnation: 99, counter: 1 });
        assert_eq!(body, b"claims");
    }

    #[test]
    fn another_key_opens_nothing() {
        assert_eq!(unseal(&key(2), &message(b"claims")), Err(Refusal::Forged));
    }

    #[test]
    fn counters_are_kept_per_receiver() {
        let mut sender = Sender::new(1, 1);
        let counters = [2, 2, 3, 2].map(|to| sender.header(Kind::Swim, to).counter);
        assert_eq!(counters, [1, 2, 1, 3]);
    }

    #[test]
    fn another_version_is_told_from_a_forgery() {
        let mut sealed = message(b"claims");
        sealed[0] = VERSION + 1;
        assert_eq!(unseal(&key(1), &sealed), Err(Refusal::WrongVersion));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_never_accepted(body: Vec<u8>, at: prop::sample::Index, bit in 0..8) {
            let mut sealed = message(&body);
            let at = at.index(sealed.len());
            sealed[at] ^= 1_u8 << bit;
            prop_assert!(unseal(&key(1), &sealed).is_err());
        }

        #[test]
        fn a_truncated_message_is_never_accepted(body: Vec<u8>, at: prop::sample::Index) {
            let sealed = message(&body);
            prop_assert!(unseal(&key(1), &sealed[..at.index(sealed.len())]).is_err());
        }

        #[test]
        fn noise_is_never_accepted(noise: Vec<u8>) {
            prop_assert!(unseal(&key(1), &noise).is_err());
        }
    }
}
