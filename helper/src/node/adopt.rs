//! Pods that run without an attachment of ours: they are older than the installation.
//!
//! Guarantees: a pod of this node is adopted by its addresses unless it is attached, or was detached and is still in the
//! world. Leaves out: what is then selected.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sortie_core::desired::Member;
use sortie_core::model::{Attachment, Pod, PodReference};
use sortie_ipc::StoredAttachment;
use sortie_kernel::Platform;

use super::{Held, Node};

impl<P: Platform> Node<P> {
    /// Finds the pods of this node that run without an attachment of ours.
    pub(super) fn adopt(&mut self) {
        let pods = &self.world.pods;
        self.departed.retain(|(name, uid)| pods.get(name).is_some_and(|pod| pod.meta.uid == *uid));
        let attached = Attached::of(self.attachments.values().map(|held| &held.stored.attachment));
        let loose = self.world.pods.values().filter(|pod| self.is_loose(pod) && !attached.has(pod));
        let held = |pod: &Pod| Held {
            stored: StoredAttachment { attachment: attachment_of(pod), rules: Vec::new() },
            member: Member::default(),
        };
        self.adopted = loose.map(held).collect();
    }

    fn is_loose(&self, pod: &Pod) -> bool {
        pod.node == self.settings.node
            && !pod.host_network
            && !pod.addresses.is_empty()
            && !self.departed.contains(&(pod.name.clone(), pod.meta.uid.clone()))
    }
}

/// By what a pod is known to be attached. A look for each pod into all attachments would take pods times attachments.
struct Attached<'a> {
    pods: BTreeSet<(&'a str, &'a str)>,
    addresses: BTreeSet<IpAddr>,
}

impl<'a> Attached<'a> {
    fn of(attachments: impl Iterator<Item = &'a Attachment> + Clone) -> Self {
        let pods = attachments.clone().filter_map(|attachment| attachment.pod.as_ref());
        Self {
            pods: pods.map(|pod| (pod.namespace.as_str(), pod.name.as_str())).collect(),
            addresses: attachments.flat_map(|attachment| attachment.addresses.iter().copied()).collect(),
        }
    }

    fn has(&self, pod: &Pod) -> bool {
        self.pods.contains(&(pod.name.namespace.as_str(), pod.name.name.as_str()))
            || pod.addresses.iter().any(|address| self.addresses.contains(address))
    }
}

fn attachment_of(pod: &Pod) -> Attachment {
    Attachment {
        container_id: String::new(),
        interface: String::new(),
        netns: String::new(),
        network: String::new(),
        pod: Some(PodReference {
            namespace: pod.name.namespace.clone(),
            name: pod.name.name.clone(),
            uid: pod.meta.uid.clone(),
        }),
        addresses: pod.addresses.clone(),
        annotations: BTreeMap::new(),
        routes: Vec::new(),
    }
}
