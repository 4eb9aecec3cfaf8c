//! Hearing owners.
//!
//! Guarantees: an owner is followed again after an end, until it is not to be. Leaves out: keeping what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sortie_core::replica::{Message, decode};
use sortie_peer::{Follow, PeersError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Time until an owner that does not tell is asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// What an owner says; `None` = it is not heard any more.
pub(super) type Heard = (u16, Option<Message>);

/// Owners that are followed.
pub(super) struct Owners {
    follow: Follow,
    heard: mpsc::Sender<Heard>,
    tasks: BTreeMap<u16, JoinHandle<()>>,
}

impl Owners {
    pub(super) fn new(follow: Follow, heard: mpsc::Sender<Heard>) -> Self {
        Self { follow, heard, tasks: BTreeMap::new() }
    }

    /// Follows these nodes and no others; returns those it stopped to follow.
    pub(super) fn are(&mut self, nodes: &BTreeSet<u16>) -> Vec<u16> {
        for node in nodes {
            let hear = || tokio::spawn(hear(*node, self.follow.clone(), self.heard.clone()));
            self.tasks.entry(*node).or_insert_with(hear);
        }
        let gone: Vec<u16> = self.tasks.keys().copied().filter(|node| !nodes.contains(node)).collect();
        gone.iter().filter_map(|node| self.tasks.remove(node)).for_each(|task| task.abort());
        gone
    }
}

async fn hear(node: u16, follow: Follow, heard: mpsc::Sender<Heard>) {
    let mut complaint = String::new();
    loop {
        let Ok(outcome) = listen(node, &follow, &heard).await else { return };
        if let Err(error) = outcome {
            let error = error.to_string();
            if error != complaint {
                log::warn!("what an owner says about its connections cannot be used node={node} error={error}");
            }
            complaint = error;
        }
        if heard.send((node, None)).await.is_err() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// One stream to its end, and why it was ended here.
async fn listen(
    node: u16,
    follow: &Follow,
    heard: &mpsc::Sender<Heard>,
) -> Result<Result<(), sortie_core::replica::Malformed>, PeersError> {
    let mut following = follow.node(node).await?;
    while let Some(bytes) = following.next().await {
        match decode(&bytes) {
            Ok(message) => heard.send((node, Some(message))).await.map_err(|_| PeersError::Stopped)?,
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}
