//! What this node says of routes and policies, each in its own entry of `status.nodes`.
//!
//! Guarantees: only the entry of this node is written, by a field manager of its own, and only when it says something
//! else; what an earlier helper of the node said is corrected. Leaves out: what is said of the object as a whole.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use sortie_core::model::{Kind, ObjectName, Reason};
use tokio::sync::watch::Receiver;
use tokio::time::sleep;

use super::kinds::{self, Watched};
use super::statuses::{list, name};
use super::trouble::Trouble;
use super::write::apply_status;
use crate::due::{Due, Entries, Entry};

/// Kinds with entries of nodes.
pub(super) const KINDS: [Kind; 2] = [Kind::ServiceOutboundRoute, Kind::EgressPolicy];
/// Least time between two writes of one object.
const PACE: Duration = Duration::from_secs(1);
/// Time until what failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// Most characters of a message.
const MESSAGE_MAX: usize = 1000;

/// Keeps the entries of this node to what is due.
pub(super) async fn tell(client: Client, node: String, mut due: Receiver<Due>) {
    let mut clerk = Clerk { client, node, told: None };
    let mut trouble = Trouble::default();
    loop {
        let wanted = due.borrow_and_update().entries.clone();
        let outcome = match wanted.filter(|wanted| clerk.told.as_ref() != Some(wanted)) {
            Some(wanted) => clerk.bring(wanted).await,
            None => Ok(()),
        };
        let has_failed = trouble.has_failed("what this node says of routes and policies cannot be written", outcome);
        sleep(if has_failed { AGAIN } else { PACE }).await;
        if !has_failed && due.changed().await.is_err() || due.has_changed().is_err() {
            return;
        }
    }
}

struct Clerk {
    client: Client,
    node: String,
    /// What the objects say by this node; unknown at first, and after a failure.
    told: Option<Entries>,
}

impl Clerk {
    async fn bring(&mut self, wanted: Entries) -> Result<(), String> {
        let told = self.told.take();
        for watched in kinds::ALL.iter().filter(|watched| KINDS.contains(&watched.kind)) {
            let none = BTreeMap::new();
            let of_kind = wanted.get(&watched.kind).unwrap_or(&none);
            match &told {
                Some(told) => self.bring_changes(watched, (told.get(&watched.kind).unwrap_or(&none), of_kind)).await?,
                None => self.bring_all(watched, of_kind).await?,
            }
        }
        self.told = Some(wanted);
        Ok(())
    }

    async fn bring_all(&self, watched: &Watched, wanted: &BTreeMap<ObjectName, Entry>) -> Result<(), String> {
        for object in list(&self.client, watched).await? {
            let name = name(&object);
            let uid = object.metadata.uid.clone().unwrap_or_default();
            let entry = wanted.get(&name).filter(|entry| entry.uid == uid).map(|entry| said(&self.node, entry));
            if entry.as_ref() != mine(&object.data["status"], &self.node) {
                self.write(watched, (&name, &uid), entry).await?;
            }
        }
        Ok(())
    }

    async fn bring_changes(
        &self,
        watched: &Watched,
        (told, wanted): (&BTreeMap<ObjectName, Entry>, &BTreeMap<ObjectName, Entry>),
    ) -> Result<(), String> {
        for (name, entry) in told.iter().filter(|(name, entry)| wanted.get(*name).is_none_or(|w| w.uid != entry.uid)) {
            self.write(watched, (name, &entry.uid), None).await?;
        }
        for (name, entry) in wanted.iter().filter(|(name, entry)| told.get(*name) != Some(*entry)) {
            self.write(watched, (name, &entry.uid), Some(said(&self.node, entry))).await?;
        }
        Ok(())
    }

    async fn write(&self, watched: &Watched, object: (&ObjectName, &str), entry: Option<Value>) -> Result<(), String> {
        let (name, uid) = object;
        let status = entry.map_or_else(|| json!({}), |entry| json!({"nodes": [entry]}));
        log::info!("writing what this node says object=\"{:?} {name}\" status={status}", watched.kind);
        let (api, metadata) = (watched.api(&self.client, &name.namespace), json!({"name": name.name, "uid": uid}));
        let manager = manager(&self.node);
        apply_status(&api, (watched, &manager), metadata, status).await.map(drop)
    }
}

/// Who owns the entry of a node.
pub(super) fn manager(node: &str) -> String {
    format!("sortie-helper-{node}")
}

fn said(node: &str, Entry { pods, reason, message, .. }: &Entry) -> Value {
    let mut entry = json!({"name": node, "reason": format!("{reason:?}")});
    if *reason != Reason::Programmed {
        entry["message"] = message.chars().take(MESSAGE_MAX).collect::<String>().into();
    }
    if let Some((matched, programmed)) = pods {
        (entry["matchedPods"], entry["programmedPods"]) = ((*matched).into(), (*programmed).into());
    }
    entry
}

fn mine<'a>(status: &'a Value, node: &str) -> Option<&'a Value> {
    status["nodes"].as_array()?.iter().find(|entry| entry["name"] == node)
}
