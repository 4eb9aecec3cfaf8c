//! What Services say of themselves, as the watch tells it.
//!
//! Guarantees: what other nodes write there changes nothing else that is known of the Service, and so causes no
//! reconcile. Leaves out: Services that have nothing to do with us.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use serde_json::Value;
use sortie_core::model::{ObjectName, Service};
use tokio::sync::watch::{Receiver, Sender, channel};

use super::{OWNER, READY, VIP_HOST};
use crate::kubernetes::kinds::Annotations;
use crate::kubernetes::statuses::name;

/// By name.
pub(in crate::kubernetes) type Known = BTreeMap<ObjectName, Said>;

/// What one Service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kubernetes) struct Said {
    pub(super) uid: String,
    /// `metadata.resourceVersion`.
    pub(super) version: String,
    pub(super) owner: Option<String>,
    /// Annotations under which the owner is to stand.
    pub(super) names: &'static [&'static str],
    /// Whether the same owner stands under all of them.
    pub(super) agrees: bool,
    /// The condition; null without one.
    pub(super) ready: Value,
}

/// Keeps the book.
pub(in crate::kubernetes) struct Ledger {
    annotations: Annotations,
    draft: Known,
    book: Sender<Known>,
}

impl Ledger {
    /// An empty one, and who reads it.
    pub(in crate::kubernetes) fn new(annotations: Annotations) -> (Self, Receiver<Known>) {
        let (book, reader) = channel(Known::new());
        (Self { annotations, draft: Known::new(), book }, reader)
    }

    /// Takes what the watch tells, and what we annotate out of it.
    pub(in crate::kubernetes) fn take(&mut self, event: &mut Event<DynamicObject>) {
        match event {
            Event::Init => self.draft.clear(),
            Event::InitApply(object) => self.draft.extend(said(object, self.annotations)),
            Event::InitDone => drop(self.book.send_replace(std::mem::take(&mut self.draft))),
            Event::Apply(object) => {
                let (name, entry) = (name(object), said(object, self.annotations));
                self.book.send_if_modified(|book| match entry {
                    Some((name, said)) => book.insert(name, said.clone()) != Some(said),
                    None => book.remove(&name).is_some(),
                });
            }
            Event::Delete(object) => drop(self.book.send_if_modified(|book| book.remove(&name(object)).is_some())),
        }
    }
}

/// kube-vip's name for the owner is kept where kube-vip's annotations count and the Service has some.
fn said(object: &mut DynamicObject, annotations: Annotations) -> Option<(ObjectName, Said)> {
    let mut take = |name| object.metadata.annotations.as_mut().and_then(|annotations| annotations.remove(name));
    let owner = take(OWNER);
    let host = if annotations == Annotations::KubeVipToo { take(VIP_HOST) } else { None };
    let has_theirs = object.metadata.annotations.iter().flatten().any(|(key, _)| key.starts_with("kube-vip.io/"));
    let (names, agrees) = match annotations {
        Annotations::KubeVipToo if has_theirs || host.is_some() => (&[OWNER, VIP_HOST][..], host == owner),
        _ => (&[OWNER][..], true),
    };
    let conditions = object.data["status"]["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == READY)).cloned();
    let annotations = object.metadata.annotations.iter().flat_map(BTreeMap::keys);
    let asks = annotations.into_iter().any(|key| key.starts_with("sortie.dev/"));
    let is_ours = asks || object.data["spec"]["loadBalancerClass"] == Service::CLASS;
    if !is_ours && owner.is_none() && ready.is_none() {
        return None;
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (uid, version) = (text(&object.metadata.uid), text(&object.metadata.resource_version));
    Some((name(object), Said { uid, version, owner, names, agrees, ready: ready.unwrap_or(Value::Null) }))
}
