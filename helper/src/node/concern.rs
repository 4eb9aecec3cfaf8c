//! Which of the kernel's notifications call for a reconcile at once.
//!
//! Leaves out: all others, which the next one looks at.

use sortie_core::concern::concerns;
use sortie_kernel::{Event, Platform};

use super::Node;

impl<P: Platform> Node<P> {
    /// Whether what is in the kernel, or what is to be there, may be something else after this.
    pub(crate) fn is_concerned(&self, event: &Event) -> bool {
        match event {
            Event::Device { index, name } => {
                concerns(&self.world, &self.devices, &self.settings.cluster_cidrs, (*index, name.as_deref()))
            }
            // The plugin's part of an attachment.
            Event::NewRule(rule) => !self.believed.rules.contains(rule),
            Event::Rules | Event::Routes | Event::Addresses | Event::Nft | Event::Overrun => true,
        }
    }
}
