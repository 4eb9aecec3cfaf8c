//! Connections of owned addresses: told to those who may own next, kept of those who own, loaded when this node takes over.
//!
//! Guarantees: it runs on a thread of its own, so that no listing of a large table delays a renewal or a reconcile; once
//! [`Replication::play`] returns, connections inherited with a new address are in the kernel; from the moment an address
//! is given up, nothing is told about it any more, so that its purge here does not reach the heirs. Leaves out: what is
//! told (`sortie_core::replica`), and who owns ([`crate::ownership`]).

mod hear;
mod keeper;
mod tell;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use sortie_core::ids::Mask;
use sortie_core::model::ObjectName;
use sortie_core::replica::Paths;
use sortie_peer::{Follow, Follower};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::ownership::Holdings;

/// Longest wait for connections to be loaded: without them the address is answered for all the same.
const LOADING: Duration = Duration::from_millis(500);

/// What the thread needs to begin.
pub(crate) struct Setup {
    /// This node's number.
    pub(crate) node: u16,
    /// Bits of the connection mark that hold the path, and the number of a pod's node.
    pub(crate) marks: (Mask, Mask),
    /// Ways to and from the peers, once there are.
    pub(crate) streams: oneshot::Receiver<Streams>,
    /// What is decided about ownership.
    pub(crate) holdings: watch::Receiver<Holdings>,
}

/// Ways to and from the peers.
pub(crate) struct Streams {
    pub(crate) followers: mpsc::Receiver<Follower>,
    pub(crate) follow: Follow,
}

/// What this node has to do with addresses beside others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Paths of owned addresses that the kernel carries out.
    pub(crate) owned: Paths,
    /// Services whose addresses this node could own.
    pub(crate) services: BTreeSet<ObjectName>,
}

/// How much is replicated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replicated {
    /// Connections of owned addresses that others are told of, and those that are too many for that.
    pub(crate) told: usize,
    pub(crate) omitted: usize,
    /// Connections of others.
    pub(crate) kept: usize,
    /// Since the owner that has been silent for longest said something.
    pub(crate) age: Option<Duration>,
}

enum Command {
    /// Plays a part; the sender hears when what was inherited is loaded.
    Play(Part, oneshot::Sender<()>),
    Count(oneshot::Sender<Replicated>),
}

/// The thread, from outside.
pub(crate) struct Replication {
    commands: mpsc::UnboundedSender<Command>,
    part: Part,
}

impl Replication {
    /// Starts in the network namespace of the calling thread.
    pub(crate) fn start(setup: Setup) -> anyhow::Result<Self> {
        let (commands, taken) = mpsc::unbounded_channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(keeper::run(setup, taken))
        };
        let log = move || {
            if let Err(error) = run() {
                log::error!("connections are not replicated any more error={error:#}");
            }
        };
        let builder = std::thread::Builder::new().name("replication".to_owned());
        builder.spawn(log).context("start the thread of replication")?;
        Ok(Self { commands, part: Part::default() })
    }

    /// How much is replicated; nothing known when the thread is busy for longer than `limit`.
    pub(crate) fn count(&self, limit: Duration) -> impl Future<Output = Option<Replicated>> + 'static {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Count(reply));
        async move { timeout(limit, answer).await.ok()?.ok() }
    }

    /// The kernel carries out this part now; waits until inherited connections are loaded, but not for ever.
    pub(crate) async fn play(&mut self, part: Part) {
        if part == self.part {
            return;
        }
        self.part = part.clone();
        let (done, loaded) = oneshot::channel();
        if self.commands.send(Command::Play(part, done)).is_ok() && timeout(LOADING, loaded).await.is_err() {
            log::warn!("connections of a new address are not loaded in time milliseconds={}", LOADING.as_millis());
        }
    }
}
