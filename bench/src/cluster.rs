//! A real cluster on which Sortie and, where its program is given, kube-vip have the same work to do.
//!
//! Guarantees: both see the same nodes, networks and kinds of pods; what left is what the switch between the nodes and
//! the rest of the world saw. kube-vip runs only while a [`KubeVip`] lives. Leaves out: what is measured.

mod kube_vip;
mod objects;
mod stage;
mod wire;

pub(crate) use kube_vip::{KubeVip, Lease};
pub(crate) use objects::{Wish, daemon_set, pod};
pub(crate) use stage::{NODES, Stage, Subject};
pub(crate) use wire::{Kind, Passed, SERVED, Wire};
