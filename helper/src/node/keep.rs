//! Pods that outlive their objects.
//!
//! Guarantees: a pod that is attached keeps the object it had until it is detached: a forced deletion, or one without
//! grace period, removes the object while the pod's processes still send. Leaves out: a pod that was followed by another
//! one of its name, and a restart of the helper in between.

use sortie_core::model::ObjectName;
use sortie_core::world::World;
use sortie_kernel::Platform;

use super::{Node, is_known};

impl<P: Platform> Node<P> {
    /// Puts what this node still needs of the world so far into the one that follows.
    pub(super) fn keep_pods(&self, next: &mut World) {
        let attachments = self.attachments.values().map(|held| &held.stored.attachment);
        for attachment in attachments {
            if !is_known(&self.world, attachment) || is_known(next, attachment) {
                continue;
            }
            let Some(reference) = &attachment.pod else { continue };
            let name = ObjectName { namespace: reference.namespace.clone(), name: reference.name.clone() };
            if let Some(pod) = self.world.pods.get(&name) {
                next.pods.entry(name).or_insert_with(|| pod.clone());
            }
        }
    }
}
