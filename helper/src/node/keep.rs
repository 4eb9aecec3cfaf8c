//! Pods that outlive their objects.
//!
//! Guarantees: a pod that is attached keeps the object it had until it is detached, over restarts of the helper too: a
//! forced deletion, or one without grace period, removes the object while the pod's processes still send. Leaves out: a
//! pod that was followed by another one of its name.

use sortie_core::model::{Object, ObjectName};
use sortie_core::world::World;
use sortie_kernel::Platform;

use super::{Node, is_known};
use crate::catalogue::Kept;

/// What a new helper knows of pods before it has read anything: their objects may be gone by then.
pub(super) fn remembered(kept: Vec<Kept>) -> World {
    World::of(kept.into_iter().filter_map(Kept::into_pod).map(Object::Pod))
}

impl<P: Platform> Node<P> {
    /// Puts what this node still needs of the world so far into the one that follows, and returns it.
    pub(super) fn keep_pods(&self, next: &mut World) -> Vec<Kept> {
        let mut outliving = Vec::new();
        for attachment in self.attachments.values().map(|held| &held.stored.attachment) {
            if !is_known(&self.world, attachment) || is_known(next, attachment) {
                continue;
            }
            let Some(reference) = &attachment.pod else { continue };
            let name = ObjectName { namespace: reference.namespace.clone(), name: reference.name.clone() };
            let Some(pod) = self.world.pods.get(&name).filter(|_| !next.pods.contains_key(&name)) else { continue };
            next.pods.insert(name, pod.clone());
            outliving.push(Kept::outliving(pod.clone()));
        }
        outliving
    }
}
