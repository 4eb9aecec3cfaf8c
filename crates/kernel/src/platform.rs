//! What a reconcile needs from a kernel: the real one, or the in-memory one of the tests.

use std::collections::BTreeMap;
use std::future::Future;

use sortie_core::state::{NodeState, Rule, Step};
use sortie_core::world::NodeFacts;

use crate::KernelError;

/// One network namespace's kernel.
pub trait Platform: Send {
    /// Devices, addresses and foreign tables.
    fn facts(&mut self) -> impl Future<Output = Result<NodeFacts, KernelError>> + Send;
    /// Everything of ours.
    fn observe(&mut self) -> impl Future<Output = Result<NodeState, KernelError>> + Send;
    /// One idempotent action.
    fn apply(&mut self, step: &Step) -> impl Future<Output = Result<(), KernelError>> + Send;
    /// Whether table `netdev sortie` can address the frames of the tunnel here; the error says what is missing.
    fn can_address_frames(&mut self) -> impl Future<Output = Result<(), KernelError>> + Send;
    /// Packets counted by our named counters.
    fn counters(&mut self) -> impl Future<Output = Result<BTreeMap<String, u64>, KernelError>> + Send;
}

/// Something changed in the kernel; what, is found by observing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This rule with our protocol came, by somebody.
    NewRule(Rule),
    /// Rules of ours, by somebody.
    Rules,
    /// A route in a table of ours, or a device's connected routes.
    Routes,
    /// This device came, went or changed, or its link-local address did.
    Device {
        /// Interface index.
        index: u32,
        /// Not told with an address.
        name: Option<String>,
    },
    /// An address of a device.
    Addresses,
    /// Table `inet sortie` or `netdev sortie`, by somebody else.
    Nft,
    /// Notifications were lost: everything may have changed.
    Overrun,
}
