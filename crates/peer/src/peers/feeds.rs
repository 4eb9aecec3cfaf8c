//! Streams to and from peers.
//!
//! Guarantees: a peer that wants to follow is refused while nobody here tells anything; streams end with the cluster.
//! Leaves out: following again after an end.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::seal::Refusal;
use crate::streams::{self, Follower};
use crate::tables::{Call, FetchError};

#[derive(Debug, Default)]
pub(super) struct Feeds {
    followers: Option<mpsc::Sender<Follower>>,
    followed: JoinSet<Option<Refusal>>,
}

impl Feeds {
    pub(super) fn tell(&mut self, followers: mpsc::Sender<Follower>) {
        self.followers = Some(followers);
    }

    /// What the node will be told; `None` when nobody tells, or too many wait to be told.
    pub(super) fn welcome(&self, node: u16) -> Option<mpsc::Receiver<Vec<u8>>> {
        let (follower, messages) = Follower::new(node);
        self.followers.as_ref()?.try_send(follower).ok()?;
        Some(messages)
    }

    pub(super) fn follow(&mut self, call: Call, heard: mpsc::Sender<Vec<u8>>) {
        self.followed.spawn(async move {
            let node = call.ask.receiver;
            let ended = streams::follow(&call, &heard).await;
            log::debug!("stream of node {node} has ended: {ended:?}");
            match ended {
                Err(FetchError::Refused(refusal)) => Some(refusal),
                _ => None,
            }
        });
    }

    /// Why the next stream that ends was refused; waits for ever while there is none.
    pub(super) async fn refused(&mut self) -> Refusal {
        loop {
            match self.followed.join_next().await {
                Some(Ok(Some(refusal))) => return refusal,
                Some(Ok(None)) => {}
                Some(Err(error)) => log::error!("stream of a peer: {error}"),
                None => std::future::pending().await,
            }
        }
    }
}
