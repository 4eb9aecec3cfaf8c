//! What nodes say about connections, as bytes.
//!
//! Guarantees: whatever is decoded is sound; no input makes more than [`CHANGES_MAX`] changes. Leaves out: who says it
//! and in which order it arrives.

use serde::{Deserialize, Serialize};

use super::{Connection, PathName};
use crate::state::Tuple;

/// Most changes in one message; so many make less than 128 KiB.
pub const CHANGES_MAX: usize = 512;

/// One step of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// It is there, or differs from before.
    Put(Connection),
    /// The one with this original tuple is gone.
    Gone(Tuple),
}

/// A part of what an owner tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A whole picture begins, of the connections of these paths; it counts from its [`Message::End`].
    Begin(Vec<PathName>),
    /// In this order; at most [`CHANGES_MAX`].
    Changes(Vec<Change>),
    /// The picture is whole.
    End,
}

/// What a peer said makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not a message.
    #[error("no message about connections")]
    Undecodable(#[from] postcard::Error),
    /// Bytes follow the message.
    #[error("{0} bytes after a message about connections")]
    Trailing(usize),
    /// More than [`CHANGES_MAX`].
    #[error("{0} changes of connections in one message, at most {CHANGES_MAX} are read")]
    TooMany(usize),
    /// Families or protocols are mixed, or a state belongs to another protocol.
    #[error("a connection that cannot be: {0:?}")]
    Unsound(Box<Connection>),
}

/// The bytes of a message.
///
/// # Errors
/// [`Malformed::Undecodable`] when memory does not suffice.
pub fn encode(message: &Message) -> Result<Vec<u8>, Malformed> {
    Ok(postcard::to_allocvec(message)?)
}

/// The message in these bytes.
///
/// # Errors
/// What is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<Message, Malformed> {
    let (message, rest) = postcard::take_from_bytes::<Message>(bytes)?;
    if !rest.is_empty() {
        return Err(Malformed::Trailing(rest.len()));
    }
    if let Message::Changes(changes) = &message {
        if changes.len() > CHANGES_MAX {
            return Err(Malformed::TooMany(changes.len()));
        }
        for change in changes {
            match change {
                Change::Put(connection) if !connection.flow.is_sound() => {
                    return Err(Malformed::Unsound(Box::new(*connection)));
                }
                Change::Put(_) | Change::Gone(_) => {}
            }
        }
    }
    Ok(message)
}
