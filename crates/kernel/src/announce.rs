//! Virtual addresses that are on no interface: answering for them, announcing them, asking for them.
//!
//! Guarantees: only owned addresses are answered for, on the device they are owned on, with its link address; after
//! [`Responder::set`] returned, nothing is answered for what was taken away; a device that fails or goes neither stops
//! the others nor the answering after it came back. Leaves out: who owns an address; VLAN tags (use the VLAN's
//! device); devices other than Ethernet; watching devices, which the caller tells by [`Responder::refresh`].
//!
//! The kernel does not know the addresses, so it neither answers nor announces; forwarding, `rp_filter` and `arp_*`
//! settings stay as they are. With IPv6 forwarding it does forward unicast solicitations and advertisements to such an
//! address, answers with a redirect, asks for the address itself and reports it unreachable 3 s later; a rule that
//! drops these two ICMPv6 types to owned addresses before routing ends that, and packet sockets see them before it.

pub mod arp;
pub mod ethernet;
pub mod ndp;

mod announcer;
mod answer;
mod desk;
mod filter;
mod groups;
mod link;
mod port;
mod probe;
mod responder;
mod schedule;

pub use announcer::Announcer;
pub use ethernet::Mac;
pub use link::link_addresses;
pub use probe::{ProbeOutcome, Prober};
pub use responder::{Answers, Responder};
pub use schedule::Via;
