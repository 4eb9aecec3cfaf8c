//! Which tables are wanted and being fetched.
//!
//! Guarantees: one request to a node at a time and [`AT_ONCE`] in all; a wanted table is asked for until it came or
//! its node is no peer. Leaves out: when to try again, which the driver's tick decides.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::JoinSet;

use crate::editions::Edition;
use crate::tables::{self, Call, FetchError};

/// Requests under way at a time.
const AT_ONCE: usize = 16;

/// What became of a request.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) node: u16,
    pub(super) outcome: Result<(Edition, Vec<u8>), FetchError>,
}

#[derive(Debug, Default)]
pub(super) struct Fetches {
    wanted: BTreeMap<u16, Edition>,
    running: BTreeSet<u16>,
    tasks: JoinSet<Fetched>,
}

impl Fetches {
    pub(super) fn want(&mut self, node: u16, edition: Edition) {
        self.wanted.insert(node, edition);
    }

    pub(super) fn forget(&mut self, node: u16) {
        self.wanted.remove(&node);
    }

    pub(super) fn retain(&mut self, wanted: impl Fn(u16) -> bool) {
        self.wanted.retain(|node, _| wanted(*node));
    }

    /// The nodes to ask now, among those that `can` answer.
    pub(super) fn due(&self, can: impl Fn(u16) -> bool) -> Vec<u16> {
        let room = AT_ONCE.saturating_sub(self.running.len());
        let idle = self.wanted.keys().copied().filter(|node| !self.running.contains(node) && can(*node));
        idle.take(room).collect()
    }

    pub(super) fn start(&mut self, node: u16, call: Call) {
        self.running.insert(node);
        self.tasks.spawn(async move { Fetched { node, outcome: tables::fetch(&call).await } });
    }

    /// The next finished request; waits for ever while there is none.
    pub(super) async fn next(&mut self) -> Fetched {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(fetched)) => {
                    self.running.remove(&fetched.node);
                    return fetched;
                }
                Some(Err(error)) => log::error!("request for a table: {error}"),
                None => std::future::pending().await,
            }
        }
    }

    /// Whether `edition` is one that was waited for.
    pub(super) fn accept(&mut self, node: u16, edition: Edition) -> bool {
        let fits = self.wanted.get(&node).is_some_and(|wanted| edition >= *wanted);
        if fits {
            self.wanted.remove(&node);
        }
        fits
    }
}
