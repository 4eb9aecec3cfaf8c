//! What this node knows that the Kubernetes API should say.
//!
//! Leaves out: who writes it, and what the API says already ([`crate::kubernetes`]).

use std::collections::{BTreeMap, BTreeSet};

use sortie_core::address::Given;
use sortie_core::model::{Kind, ObjectName, Reason, Rejection};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// Addresses that Services should have, where their status says otherwise; the leader's.
    pub(crate) addresses: Given,
    /// Where tables of routes may be; nothing before this node's were read. The leader's.
    pub(crate) tables: Option<Tables>,
    /// What is thought of our objects; the leader's.
    pub(crate) judged: Judgements,
    /// All nodes by name: what others said of objects is taken back. The leader's.
    pub(crate) nodes: BTreeSet<String>,
    /// What this node has to say of routes and policies; nothing before it looked.
    pub(crate) entries: Option<Entries>,
    /// What Services should say; nothing before this node looked.
    pub(crate) standings: Option<Standings>,
}

/// What Services should say, by who writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standings {
    /// Those that this node owns, and those that nobody owns.
    pub(crate) here: BTreeMap<ObjectName, Standing>,
    /// Those that another node owns. All others should say nothing.
    pub(crate) elsewhere: BTreeSet<ObjectName>,
}

/// By kind and name.
pub(crate) type Entries = BTreeMap<Kind, BTreeMap<ObjectName, Entry>>;

/// What this node has to say of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Which object of that name it is.
    pub(crate) uid: String,
    /// Of a policy: pods of this node that it selects, and those of them whose traffic can leave.
    pub(crate) pods: Option<(u64, u64)>,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// What a Service should say of its owner and of the traffic of its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Which Service of that name it is.
    pub(crate) uid: String,
    /// This node, or nobody.
    pub(crate) owner: Option<String>,
    /// Condition `sortie.dev/EgressReady`.
    pub(crate) ready: Verdict,
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
    /// Of the object that was judged.
    pub(crate) generation: Option<i64>,
    /// Condition `Accepted`.
    pub(crate) accepted: Verdict,
    /// Of a route: table asked for, and table given.
    pub(crate) tables: (Option<u32>, Option<u32>),
    /// Nodes with a helper that have to do with it: of a route those that may be an exit, of a policy all.
    pub(crate) nodes: BTreeSet<String>,
    /// Of a pool: addresses that Services hold, and the others.
    pub(crate) counts: (u64, u64),
}

/// Whether a condition holds, and why. The text of a refusal has its field and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) holds: bool,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Judged {
    /// An object of which nothing but this is known.
    pub(crate) fn only(accepted: Verdict) -> Self {
        let (uid, nodes) = (String::new(), BTreeSet::new());
        Self { uid, generation: None, accepted, tables: (None, None), nodes, counts: (0, 0) }
    }
}

impl From<&Rejection> for Verdict {
    fn from(Rejection { reason, field, message, remedy, .. }: &Rejection) -> Self {
        Self { holds: false, reason: *reason, message: format!("{field}: {message}; {remedy}") }
    }
}
