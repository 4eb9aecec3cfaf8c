//! What this node says of routes, each in its own entry of `status.nodes`.
//!
//! Guarantees: only the entry of this node is written, by a field manager of its own, and only when it says something
//! else; what an earlier helper of the node said is corrected. Leaves out: what is said of the route as a whole.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use sortie_core::model::Kind;
use tokio::sync::watch::Receiver;
use tokio::time::sleep;

use super::kinds;
use super::write::answered;
use crate::due::{Due, Entry};

/// Least time between two writes of one object.
const PACE: Duration = Duration::from_secs(1);
/// Time until what failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// Most characters of a message.
const MESSAGE_MAX: usize = 1000;

type Entries = BTreeMap<String, Entry>;

/// Keeps the entries of this node to what is due.
pub(super) async fn tell(client: Client, node: String, mut due: Receiver<Due>) {
    let (mut told, mut trouble) = (None, String::new());
    loop {
        let wanted = due.borrow_and_update().entries.clone();
        let mut now = String::new();
        if let Some(wanted) = wanted.filter(|wanted| told.as_ref() != Some(wanted)) {
            match bring(&client, &node, &wanted).await {
                Ok(()) => told = Some(wanted),
                Err(error) => now = error,
            }
        }
        if !now.is_empty() && now != trouble {
            log::warn!("what this node says of routes cannot be written error=\"{now}\"");
        }
        let has_failed = !now.is_empty();
        trouble = now;
        sleep(if has_failed { AGAIN } else { PACE }).await;
        if !has_failed && due.changed().await.is_err() || due.has_changed().is_err() {
            return;
        }
    }
}

async fn bring(client: &Client, node: &str, wanted: &Entries) -> Result<(), String> {
    let Some(routes) = kinds::ALL.iter().find(|watched| watched.kind == Kind::ServiceOutboundRoute) else {
        return Ok(());
    };
    let resource = routes.resource();
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    for object in answered(api.list(&ListParams::default())).await?.items {
        let name = object.metadata.name.clone().unwrap_or_default();
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let entry = wanted.get(&name).filter(|entry| entry.uid == uid).map(|entry| said(node, entry));
        if entry.as_ref() == mine(&object.data["status"], node) {
            continue;
        }
        let status = entry.map_or_else(|| json!({}), |entry| json!({"nodes": [entry]}));
        let patch = json!({
            "apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "status": status,
        });
        log::info!("writing what this node says route={name} status={status}");
        let params = PatchParams::apply(&format!("sortie-helper-{node}")).force();
        match answered(api.patch_status(&name, &params, &Patch::Apply(patch))).await {
            // It went in the meantime.
            Err(error) if error.contains("NotFound") => {}
            outcome => drop(outcome?),
        }
    }
    Ok(())
}

fn said(node: &str, Entry { reason, message, .. }: &Entry) -> Value {
    let message: String = message.chars().take(MESSAGE_MAX).collect();
    json!({"name": node, "reason": format!("{reason:?}"), "message": message})
}

fn mine<'a>(status: &'a Value, node: &str) -> Option<&'a Value> {
    status["nodes"].as_array()?.iter().find(|entry| entry["name"] == node)
}
