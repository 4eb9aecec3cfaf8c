//! What this node knows that the Kubernetes API should say.
//!
//! Leaves out: who writes it, and what the API says already ([`crate::kubernetes`]).

use std::collections::{BTreeMap, BTreeSet};

use sortie_core::address::Given;
use sortie_core::model::{Kind, ObjectName, Reason};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// Addresses that Services should have, where their status says otherwise; the leader's.
    pub(crate) addresses: Given,
    /// Where tables of routes may be; nothing before this node's were read. The leader's.
    pub(crate) tables: Option<Tables>,
    /// What is thought of our objects; the leader's.
    pub(crate) judged: Judgements,
    /// What this node has to say of routes, by their names; nothing before it looked.
    pub(crate) entries: Option<BTreeMap<String, Entry>>,
}

/// What this node has to say of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Which object of that name it is.
    pub(crate) uid: String,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// By kind and name.
pub(crate) type Judgements = BTreeMap<Kind, BTreeMap<ObjectName, Judged>>;

/// Where tables of routes may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    /// First and last.
    pub(crate) range: (u32, u32),
    /// Those that hold routes of others on this node.
    pub(crate) taken: BTreeSet<u32>,
}

/// What is thought of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Which object of that name it is.
    pub(crate) uid: String,
    /// Condition `Accepted`.
    pub(crate) accepted: Verdict,
    /// Of a route: table asked for, and table given.
    pub(crate) tables: (Option<u32>, Option<u32>),
    /// Of a route: nodes that may be an exit.
    pub(crate) exits: BTreeSet<String>,
    /// Of a pool: addresses that Services hold, and the others.
    pub(crate) counts: (u64, u64),
}

/// Whether a condition holds, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) holds: bool,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Judged {
    /// An object of which nothing but this is known.
    pub(crate) fn only(accepted: Verdict) -> Self {
        Self { uid: String::new(), accepted, tables: (None, None), exits: BTreeSet::new(), counts: (0, 0) }
    }
}
