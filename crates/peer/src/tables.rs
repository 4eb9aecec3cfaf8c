//! Claim tables, from peer to peer over TCP.
//!
//! Guarantees: an answer belongs to the request it answers, so none can be kept and shown again; both sides give up
//! after [`DEADLINE`], read at most [`TABLE_MAX`] and a fixed number of connections. Leaves out: what is in a table.
//!
//! One frame each way: its length (4 bytes, big endian) and a sealed message. The body of an answer is the request's
//! incarnation (8) and counter (8), the table's version (8) and the table.

mod ask;
mod serve;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) use ask::{Call, FetchError, connect, fetch};
pub(crate) use serve::{Allowed, Asked, Grant, Table, serve};

use crate::seal::OVERHEAD;

/// Longest table, in bytes.
pub const TABLE_MAX: usize = 1 << 20;

/// Longest an exchange may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// Bytes of an answer's body before the table.
const ANSWER_HEAD: usize = 24;

const ASK_MAX: usize = OVERHEAD;
const ANSWER_MAX: usize = OVERHEAD + ANSWER_HEAD + TABLE_MAX;

/// Writes a frame.
pub(crate) async fn write_frame(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(message).await
}

/// Reads a frame of at most `max` bytes.
pub(crate) async fn read_frame(stream: &mut TcpStream, max: usize) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u32().await? as usize;
    if length > max {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
