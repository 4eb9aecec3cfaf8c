//! Long streams of messages from one peer to another, over TCP.
//!
//! Guarantees: what arrives is what the peer sent on this very connection, in order and without a gap; a peer that sends
//! nothing for [`SILENCE`] is given up, and so is one that reads nothing for as long; a slow reader holds up its sender,
//! and little waits in between. Leaves out: what is said, and what a reader missed while it was not connected.
//!
//! The follower opens with one sealed frame of kind [`Follow`](crate::Kind::Follow), as it would ask for a table. The body
//! of each frame back is that request's incarnation (8) and counter (8), the frame's number from 0 (8), and the message;
//! an empty message is a sign of life. All frames of a stream carry the same counter in their envelopes.

mod feed;
mod follow;

use std::time::Duration;

use tokio::sync::mpsc;

use crate::seal::OVERHEAD;
use crate::tables::TABLE_MAX;

pub(crate) use feed::{Feed, feed};
pub(crate) use follow::follow;

/// Longest message of a stream, in bytes.
pub const MESSAGE_MAX: usize = TABLE_MAX;

/// Messages that wait on either side.
const WAITING: usize = 4;
/// Longest time between two frames.
const BEAT: Duration = Duration::from_secs(1);
/// Silence after which the other side is given up.
const SILENCE: Duration = Duration::from_secs(5);

/// Bytes of a frame's body before the message.
const FRAME_HEAD: usize = 24;
const FRAME_MAX: usize = OVERHEAD + FRAME_HEAD + MESSAGE_MAX;

/// A peer that wants to hear what this node has to say. Dropped, it is told nothing more.
#[derive(Debug)]
pub struct Follower {
    node: u16,
    messages: mpsc::Sender<Vec<u8>>,
}

/// A message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum FollowerError {
    /// The connection broke, or the peer does not read.
    #[error("the follower is gone")]
    Gone,
    /// Longer than [`MESSAGE_MAX`], or empty.
    #[error("a message of {0} bytes, possible are 1 to {MESSAGE_MAX}")]
    Length(usize),
}

impl Follower {
    /// A follower and what it is sent.
    pub(crate) fn new(node: u16) -> (Self, mpsc::Receiver<Vec<u8>>) {
        let (messages, taken) = mpsc::channel(WAITING);
        (Self { node, messages }, taken)
    }

    /// Its number.
    #[must_use]
    pub fn node(&self) -> u16 {
        self.node
    }

    /// Sends, as soon as there is room.
    ///
    /// # Errors
    /// [`FollowerError`].
    pub async fn send(&self, message: Vec<u8>) -> Result<(), FollowerError> {
        if message.is_empty() || message.len() > MESSAGE_MAX {
            return Err(FollowerError::Length(message.len()));
        }
        self.messages.send(message).await.map_err(|_| FollowerError::Gone)
    }

    /// Waits for the end of the connection.
    pub async fn gone(&self) {
        self.messages.closed().await;
    }
}

/// What a peer says. Dropped, it is not followed any more.
#[derive(Debug)]
pub struct Following {
    messages: mpsc::Receiver<Vec<u8>>,
}

impl Following {
    /// What is heard, and where to put it.
    pub(crate) fn new() -> (mpsc::Sender<Vec<u8>>, Self) {
        let (heard, messages) = mpsc::channel(WAITING);
        (heard, Self { messages })
    }

    /// The next message; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.messages.recv().await
    }
}
