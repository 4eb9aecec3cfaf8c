//! Which node owns the addresses of a Service: one at a time, decided by the candidates themselves.
//!
//! Guarantees: the [`Machine`] of a node permits sending ([`Action::Claim`], [`Action::RenewLease`]) only while
//! a majority of the candidates has promised to support nobody else for longer than the permission lasts;
//! of two candidates one may stand in for the other's promise with the next hop and a silent wire as
//! witnesses. The owner stays while it can; a planned move overlaps and never gaps.
//! Leaves out: clocks (times are arguments), sockets, the kernel, and who is up, which the membership
//! library tells.
//!
//! How it is safe: an owner asks the other candidates every [`RENEW`]; the permission lasts [`LEASE`] from the
//! moment it *sent* the question that a majority answered; who answers keeps its support for
//! [`LEASE`] + [`MARGIN`] from the moment it *received* the question. Two majorities share a node, so the
//! permission has ended before another can begin, whatever the network loses in either direction.

mod claim;
mod interest;
mod lease;
mod machine;
mod memory;
mod peer;
mod rank;
mod table;
mod unit;
mod view;
mod vote;
mod watch;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use machine::Machine;
pub use rank::{order, weight};
pub use table::{Ballot, Claim, Fitness, Message, Row, Stage, Table};

/// Milliseconds for which one answered question permits sending; the timeout of the kernel's set element.
pub const LEASE: u64 = 300;
/// Milliseconds between two questions, two probes of the next hop and two renewals.
pub const RENEW: u64 = 75;
/// Milliseconds a promise outlives the permission it backs; pays for clocks that differ by up to 7 %.
pub const MARGIN: u64 = 50;
/// Milliseconds before its end at which an owner that got no answers gives up.
pub const GUARD: u64 = 20;
/// Milliseconds without a question after which the next candidate starts to look at the wire.
pub const LATE: u64 = 90;
/// Milliseconds after which a candidate that got no majority steps back, so that another may try.
pub const STAND: u64 = 600;
/// Milliseconds a candidate waits after it stepped back or met a stranger, and per place in the order.
pub const PAUSE: u64 = 400;
/// Milliseconds after which a leaving owner withdraws even if its successor has not claimed.
pub const HANDOVER: u64 = 500;
/// Milliseconds a probe of the wire may take; an older result says nothing.
pub const PROBE: u64 = 200;
/// Milliseconds after a probe that somebody answered, at once, before the next one.
pub const ANSWERED: u64 = 25;

/// A moment of this node's monotone clock, in milliseconds since any start that outlives the helper
/// (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl Millis {
    /// The moment `milliseconds` later.
    #[must_use]
    pub fn plus(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
    /// Milliseconds since `earlier`; 0 when that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The number of a node in the cluster (annotation `sortie.dev/node-number`, or its numbering Lease).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeNumber(pub u16);

/// What moves as one: all source addresses of a Service, named `service/<namespace>/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity(pub String);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who may own an identity, the same on all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Nodes that the selectors name, whether they live or not.
    pub candidates: std::collections::BTreeSet<NodeNumber>,
}

/// State of the device that leads to the next hop, or of a peer as the membership library sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Usable, or alive.
    Up,
    /// Not usable, or not alive.
    Down,
}

/// What came back from the next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It answered.
    Reached,
    /// It did not.
    Lost,
}

/// What a probe for an address in the form of RFC 5227 met on the wire between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Nobody.
    Nobody,
    /// The MAC of this peer answered.
    Owner(NodeNumber),
    /// Nobody answered, but this peer probed for the same address.
    Prober(NodeNumber),
    /// A MAC that is no peer's answered.
    Stranger,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The world knows these candidates now; `None` = the identity is gone.
    Configure(Identity, Option<Config>),
    /// The state of this node's device for an identity.
    Device(Identity, Presence),
    /// The next hop of an identity; `sent` is when the answered probe left.
    NextHop {
        /// Whose next hop.
        identity: Identity,
        /// When the probe left this node.
        sent: Millis,
        /// What came back.
        reach: Reach,
    },
    /// A probe of the wire has ended.
    Wire {
        /// Whose addresses.
        identity: Identity,
        /// The moment named in [`Action::ProbeOnWire`].
        started: Millis,
        /// What it met.
        sighting: Sighting,
    },
    /// The membership library's word on a peer.
    Peer(NodeNumber, Presence),
    /// An authenticated datagram of a peer.
    Message(NodeNumber, Message),
    /// A peer's table, fetched from it.
    Table(Table),
    /// The kernel carries out the [`Action::Claim`] of this epoch.
    Programmed(Identity, u64),
    /// What this node tells beside its table is different now: the version is to grow.
    Beside,
    /// Hand everything over and claim nothing more.
    Leave,
    /// Time has passed.
    Tick,
}

/// Whether an address comes from an owner that wants it so, and is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consent {
    /// It hands over.
    Given,
    /// Nobody hears it, or there was none.
    Missing,
}

/// What the helper has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Stop answering and sending with the identity; flows go to `successor` if it is known.
    Withdraw {
        /// Whose addresses.
        identity: Identity,
        /// Who has them now.
        successor: Option<NodeNumber>,
    },
    /// A stranger answers for an address; it is not claimed.
    Conflict(Identity),
    /// Replace the timeout of the kernel's permission, also by a shorter one; `None` = remove it.
    RenewLease {
        /// End of the permission on this node's clock.
        until: Option<Millis>,
    },
    /// Program the identity, report [`Input::Programmed`], answer and announce.
    Claim {
        /// Whose addresses.
        identity: Identity,
        /// To be given back in [`Input::Programmed`].
        epoch: u64,
        /// Whether the last owner asked for it.
        consent: Consent,
    },
    /// Make [`Machine::table`] durable, then serve it; peers learn the version from messages and membership.
    Publish {
        /// Version of the table.
        version: u64,
    },
    /// A successor has been asked to claim; the table says so to all.
    HandOver {
        /// Whose addresses.
        identity: Identity,
        /// The successor.
        to: NodeNumber,
    },
    /// Send a datagram.
    Send(NodeNumber, Message),
    /// Fetch the peer's table, of which there is a newer one; may be repeated while it is not given.
    Fetch(NodeNumber),
    /// Probe for the addresses of the identity on the wire for about 100 ms.
    ProbeOnWire {
        /// Whose addresses.
        identity: Identity,
        /// To be given back in [`Input::Wire`].
        started: Millis,
    },
    /// Probe the next hop of the identity.
    ProbeNextHop(Identity),
}
