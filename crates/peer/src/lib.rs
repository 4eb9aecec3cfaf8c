//! What the helpers of a cluster know of each other: who is alive, and who claims what.
//!
//! Guarantees: nothing a peer says counts unless it is authenticated and new; the load of a node does not grow with
//! the cluster; all of it but [`Peers`] runs without sockets and clocks. Leaves out: what a claim means and who owns
//! an address, which the helper decides.

mod agenda;
mod editions;
mod gate;
mod identity;
mod key;
mod membership;
mod peers;
mod seal;
mod streams;
mod tables;
mod tuning;

pub use editions::Edition;
pub use gate::{Gate, Refusals, WINDOW, Window};
pub use key::{KEY_MAX, KEY_MIN, Key, KeyError};
pub use membership::{Datagram, MemberEvent, Membership, NOTE_MAX, Setup};
pub use peers::{Follow, PeerEvent, Peers, PeersError};
pub use seal::{Header, Kind, OVERHEAD, Refusal, Sender, VERSION, seal, unseal};
pub use streams::{Follower, FollowerError, Following, MESSAGE_MAX};
pub use tables::TABLE_MAX;
pub use tuning::Tuning;
