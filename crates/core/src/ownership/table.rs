//! What a node tells its peers.
//!
//! Guarantees: a larger version is a later statement of the same node. Leaves out: how it travels, and its
//! authentication.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Identity, Millis, NodeNumber};

/// Everything a node states; peers hold the one with the largest version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Who states it.
    pub node: NodeNumber,
    /// Grows with every change, also over restarts and reboots.
    pub version: u64,
    /// One row per identity the node knows.
    pub rows: BTreeMap<Identity, Row>,
}

/// A node's word on one identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The highest candidacy it ever supported or saw owning.
    pub ballot: Ballot,
    /// Whether it could own.
    pub fitness: Fitness,
    /// What it claims itself.
    pub claim: Option<Claim>,
    /// Epochs of the claims it supports.
    pub supports: BTreeMap<NodeNumber, u64>,
}

/// An epoch and who claimed with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ballot {
    /// Epoch; 0 = none yet.
    pub epoch: u64,
    /// Claimant.
    pub node: NodeNumber,
}

/// Whether device and next hop allow a node to own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fitness {
    /// They do.
    #[default]
    Fit,
    /// They do not.
    Unfit,
}

/// A claim of the node that states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Highest epoch heard when it was made, plus one.
    pub epoch: u64,
    /// How far it is.
    pub stage: Stage,
}

/// How far a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Asks for support.
    Standing,
    /// Has it, and is being programmed.
    Taking,
    /// Owns.
    Owning,
    /// Owns until this node does, which everybody may support from now on. Not revocable.
    HandingOver(NodeNumber),
}

impl Claim {
    /// Whether packets may be led to the claimant.
    #[must_use]
    pub fn owns(&self) -> bool {
        matches!(self.stage, Stage::Owning | Stage::HandingOver(_))
    }
}

/// Datagrams between peers; both carry the version of the sender's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Do you still support what my table claims?
    Ask {
        /// Version of the sender's table.
        version: u64,
        /// When it was sent, on the sender's clock.
        stamp: Millis,
    },
    /// What I support stands in my table of this version, from now for lease and margin.
    Answer {
        /// Version of the sender's table.
        version: u64,
        /// Stamp of the question.
        stamp: Millis,
        /// Version in the question.
        asked: u64,
    },
}

impl Message {
    /// Version of the sender's table.
    #[must_use]
    pub fn version(&self) -> u64 {
        match self {
            Self::Ask { version, .. } | Self::Answer { version, .. } => *version,
        }
    }
}
