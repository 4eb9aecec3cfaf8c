//! The cluster on real sockets.
//!
//! Guarantees: [`Peers`] runs [`Membership`] on UDP and the exchange of tables on TCP, both on one port; an error of a
//! socket is reported and the sockets are opened again. Leaves out: which peers there are, and what their tables mean.
//!
//! Bind the node's own address, the one the peers are configured with: they take messages from no other.
//! All peers are of its family.

mod driver;
mod feeds;
mod fetches;
mod outbox;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::editions::Edition;
use crate::gate::Refusals;
use crate::membership::{Membership, Setup};
use crate::streams::{Follower, Following};
use crate::tables::TABLE_MAX;
use driver::Driver;

/// Events that wait for a slow reader before `Heard` is left out.
const EVENTS: usize = 4096;

const COMMANDS: usize = 64;

/// Followers that wait to be told something.
const FOLLOWERS: usize = 64;

/// Something the helper wants to know.
#[derive(Debug)]
pub enum PeerEvent {
    /// The node takes part.
    Up(u16),
    /// The node left, or the cluster takes it for dead.
    Down(u16),
    /// An authenticated datagram came from the node itself. Left out while the reader is far behind.
    Heard(u16, Instant),
    /// The node's claims; empty when it has said nothing since it started.
    Table(u16, Edition, Arc<[u8]>),
    /// The node says this.
    Note(u16, Arc<[u8]>),
    /// The sockets cannot be opened, or broke; they are tried again. Told once while the error is the same.
    Trouble(SocketAddr, std::io::Error),
}

/// A command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The cluster was left, or nobody reads its events any more.
    #[error("peer traffic has stopped")]
    Stopped,
    /// The table is longer than [`TABLE_MAX`].
    #[error("claim table has {0} bytes, at most {TABLE_MAX} are sent to peers; own fewer addresses on this node")]
    TableTooLong(usize),
}

#[derive(Debug)]
enum Command {
    Peers(BTreeMap<u16, IpAddr>),
    Close(BTreeSet<u16>),
    Table(u64, Arc<[u8]>),
    Note(u16, Vec<u8>),
    Tell(mpsc::Sender<Follower>),
    Follow(u16, mpsc::Sender<Vec<u8>>),
    Refusals(oneshot::Sender<Refusals>),
    Leave(oneshot::Sender<()>),
}

/// This node's place in the cluster. Dropped, it leaves.
#[derive(Debug)]
pub struct Peers {
    commands: mpsc::Sender<Command>,
}

impl Peers {
    /// Starts on `listen`, whose port is that of all peers, in the current runtime. The events end when the cluster
    /// is left.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and input enabled.
    pub fn start(setup: Setup, listen: SocketAddr) -> (Self, mpsc::Receiver<PeerEvent>) {
        let (commands, taken) = mpsc::channel(COMMANDS);
        let (events, read) = mpsc::channel(EVENTS);
        let key = setup.key.clone();
        let driver = Driver::new(Membership::new(setup, Instant::now()), key, listen);
        tokio::spawn(driver.run(taken, events));
        (Self { commands }, read)
    }

    /// Who the other nodes are; whoever is no longer named is reported down and refused.
    ///
    /// # Errors
    /// [`PeersError::Stopped`].
    pub async fn set_peers(&self, peers: BTreeMap<u16, IpAddr>) -> Result<(), PeersError> {
        self.send(Command::Peers(peers)).await
    }

    /// Who gets a heartbeat each 75 ms: the candidates for the addresses this node is one for.
    ///
    /// # Errors
    /// [`PeersError::Stopped`].
    pub async fn set_close_peers(&self, nodes: BTreeSet<u16>) -> Result<(), PeersError> {
        self.send(Command::Close(nodes)).await
    }

    /// What this node claims. A `version`, from 1, that is not higher than the one before is ignored. To be called
    /// at start too, with the empty claims: only then does the whole cluster forget those of the run before.
    ///
    /// # Errors
    /// [`PeersError::TableTooLong`], [`PeersError::Stopped`].
    pub async fn set_table(&self, version: u64, table: Vec<u8>) -> Result<(), PeersError> {
        if table.len() > TABLE_MAX {
            return Err(PeersError::TableTooLong(table.len()));
        }
        self.send(Command::Table(version, table.into())).await
    }

    /// Says something to a node, of at most [`NOTE_MAX`](crate::NOTE_MAX) bytes.
    ///
    /// # Errors
    /// [`PeersError::Stopped`].
    pub async fn send_note(&self, node: u16, note: Vec<u8>) -> Result<(), PeersError> {
        self.send(Command::Note(node, note)).await
    }

    /// From now on peers may follow this node; they come out here. To be called once.
    ///
    /// # Errors
    /// [`PeersError::Stopped`].
    pub async fn followers(&self) -> Result<mpsc::Receiver<Follower>, PeersError> {
        let (followers, come) = mpsc::channel(FOLLOWERS);
        self.send(Command::Tell(followers)).await?;
        Ok(come)
    }

    /// The means to follow peers, from any thread; it does not keep this node in the cluster.
    #[must_use]
    pub fn follow(&self) -> Follow {
        Follow { commands: self.commands.downgrade() }
    }

    /// Refused messages since the start, by reason.
    ///
    /// # Errors
    /// [`PeersError::Stopped`].
    pub async fn refusals(&self) -> Result<Refusals, PeersError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Refusals(reply)).await?;
        answer.await.map_err(|_| PeersError::Stopped)
    }

    /// Tells the others that this node leaves, and ends once that is sent.
    ///
    /// # Errors
    /// [`PeersError::Stopped`].
    pub async fn leave(self) -> Result<(), PeersError> {
        let (reply, done) = oneshot::channel();
        self.send(Command::Leave(reply)).await?;
        done.await.map_err(|_| PeersError::Stopped)
    }

    async fn send(&self, command: Command) -> Result<(), PeersError> {
        self.commands.send(command).await.map_err(|_| PeersError::Stopped)
    }
}

/// Follows peers.
#[derive(Debug, Clone)]
pub struct Follow {
    commands: mpsc::WeakSender<Command>,
}

impl Follow {
    /// What the node tells from now on; ended at once when it is no peer, and soon when it does not tell.
    ///
    /// # Errors
    /// [`PeersError::Stopped`].
    pub async fn node(&self, node: u16) -> Result<Following, PeersError> {
        let (heard, following) = Following::new();
        let commands = self.commands.upgrade().ok_or(PeersError::Stopped)?;
        commands.send(Command::Follow(node, heard)).await.map_err(|_| PeersError::Stopped)?;
        Ok(following)
    }
}
