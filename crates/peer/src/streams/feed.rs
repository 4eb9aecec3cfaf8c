//! The side that tells.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{BEAT, SILENCE};
use crate::key::Key;
use crate::seal::{self, Header};
use crate::tables::write_frame;

/// What a stream is made of.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) key: Key,
    pub(crate) ask: Header,
    pub(crate) header: Header,
    pub(crate) messages: mpsc::Receiver<Vec<u8>>,
}

/// Tells until nothing more is said, the connection breaks or the peer does not read.
pub(crate) async fn feed(mut stream: TcpStream, mut feed: Feed) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    for number in 0.. {
        let message = match next(&mut feed.messages, BEAT).await {
            Next::Message(message) => message,
            Next::Nothing => Vec::new(),
            Next::End => break,
        };
        timeout(SILENCE, write_frame(&mut stream, &frame(&feed, number, &message))).await??;
    }
    Ok(())
}

enum Next {
    Message(Vec<u8>),
    Nothing,
    End,
}

async fn next(messages: &mut mpsc::Receiver<Vec<u8>>, patience: Duration) -> Next {
    match timeout(patience, messages.recv()).await {
        Ok(Some(message)) => Next::Message(message),
        Ok(None) => Next::End,
        Err(_) => Next::Nothing,
    }
}

pub(super) fn frame(feed: &Feed, number: u64, message: &[u8]) -> Vec<u8> {
    let head = [feed.ask.incarnation, feed.ask.counter, number].map(u64::to_be_bytes).concat();
    seal::seal(&feed.key, &feed.header, &[head.as_slice(), message].concat())
}
