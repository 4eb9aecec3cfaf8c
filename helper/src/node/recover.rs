//! Attachments whose files were lost while their pods run.
//!
//! Guarantees: a pod that the kernel selects is not let loose because its file cannot be read: it is found
//! in the runtime's cache, or closed until it is detached. Leaves out: pods that were never selected.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sortie_core::desired::Member;
use sortie_core::model::Attachment;
use sortie_core::state::{NftKey, NodeState};
use sortie_ipc::{AttachmentKey, StoredAttachment};
use sortie_kernel::Platform;

use super::{Held, Node, NodeError};
use crate::runtime_cache;

/// A route that no object defines: what asks for it is closed.
const NOWHERE: &str = "sortie-lost-attachment";

impl<P: Platform> Node<P> {
    /// Once, before the first reconcile changes anything.
    pub(super) async fn recover(&mut self) -> Result<(), NodeError> {
        let observed = self.platform.observe().await?;
        let mut orphans = selected(&observed);
        self.held().chain(self.detached.iter().map(|d| &d.stored.attachment)).for_each(|attachment| {
            orphans.retain(|orphan| !attachment.addresses.contains(orphan));
        });
        if orphans.is_empty() {
            return Ok(());
        }
        for attachment in runtime_cache::attachments(&self.settings.runtime_cache) {
            if attachment.addresses.iter().any(|a| orphans.contains(a)) {
                orphans.retain(|orphan| !attachment.addresses.contains(orphan));
                log::warn!("attachment is rebuilt from the runtime's cache container={}", attachment.container_id);
                self.take(attachment)?;
            }
        }
        if !orphans.is_empty() {
            for key in std::mem::take(&mut self.lost) {
                log::error!("attachment is lost and its pod closed, restart the pod container={}", key.container_id);
                self.take(closed(key, &orphans))?;
            }
        }
        Ok(())
    }

    fn take(&mut self, attachment: Attachment) -> Result<(), NodeError> {
        let stored = StoredAttachment { attachment, rules: Vec::new() };
        self.store.save(&stored)?;
        let key = AttachmentKey::of(&stored.attachment);
        self.attachments.insert(key, Held { stored, member: Member::default() });
        Ok(())
    }
}

fn selected(observed: &NodeState) -> BTreeSet<IpAddr> {
    let maps = observed.nft.iter().flat_map(|table| &table.maps);
    let pods = maps.filter(|(name, _)| ["pods4", "pods6"].contains(&name.as_str()));
    let keys = pods.flat_map(|(_, map)| map.elements.keys());
    keys.filter_map(|key| if let NftKey::Address(address) = key { Some(*address) } else { None }).collect()
}

fn closed(key: AttachmentKey, addresses: &BTreeSet<IpAddr>) -> Attachment {
    Attachment {
        container_id: key.container_id,
        interface: key.interface,
        netns: String::new(),
        network: String::new(),
        pod: None,
        addresses: addresses.iter().copied().collect(),
        annotations: BTreeMap::new(),
        routes: vec![serde_json::json!({ "route": NOWHERE })],
    }
}
