//! What the leader writes: addresses of Services, the status of our objects, and of Services that nobody owns.
//!
//! Guarantees: only the leader writes; what it writes comes back by the watch, and no node uses it earlier.

use std::net::IpAddr;
use std::time::Duration;

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use sortie_core::model::{Kind, ObjectName};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::events::Teller;
use super::kinds::{self, Watched};
use super::leader::{Election, RENEW};
use super::services::Scribe;
use super::statuses::Statuses;
use super::trouble::Trouble;
use crate::due::Due;

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Who owns the fields that are written.
pub(super) const MANAGER: &str = "sortie-leader";

/// Runs for the office and, while in it, brings every status to what is due.
pub(super) async fn lead((client, node): (Client, String), mut due: Receiver<Due>, scribe: Scribe, events: Teller) {
    let (election, statuses) = (Election::new(client.clone(), node), Statuses::new(client.clone(), events));
    let mut desk = Desk { election, statuses, scribe, client };
    let mut trouble = Trouble::default();
    while due.has_changed().is_ok() {
        if trouble.has_failed("nothing can be written for the cluster", desk.round(&mut due).await) {
            sleep(RENEW).await;
        }
    }
}

struct Desk {
    client: Client,
    election: Election,
    statuses: Statuses,
    scribe: Scribe,
}

impl Desk {
    /// Until the next round what becomes due is written at once.
    async fn round(&mut self, due: &mut Receiver<Due>) -> Result<(), String> {
        let next = Instant::now() + RENEW;
        answered(self.election.campaign()).await?;
        loop {
            let wanted = due.borrow_and_update().clone();
            if self.election.leads() {
                let addresses = self.addresses(&wanted).await;
                let orphans = self.scribe.bring_orphans(&wanted).await;
                addresses.and(self.statuses.bring(&wanted, next).await).and(orphans)?;
            } else {
                self.statuses.forget();
            }
            match timeout_at(next.min(self.statuses.next(&wanted)), due.changed()).await {
                Ok(Ok(())) => {}
                Err(_) if Instant::now() < next => {}
                Ok(Err(_)) | Err(_) => return Ok(()),
            }
        }
    }

    async fn addresses(&self, wanted: &Due) -> Result<(), String> {
        for (service, addresses) in wanted.addresses.iter().filter(|_| self.election.leads()) {
            answered(write(&self.client, service, addresses)).await?;
        }
        Ok(())
    }
}

/// The answer to a request, unless it takes too long.
pub(super) async fn answered<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match timeout(ANSWER, request).await {
        Ok(outcome) => outcome.map_err(|error| crate::node::chain(&error)),
        Err(_) => Err("no answer".to_owned()),
    }
}

/// Applies a status; nothing when the object went, or is not any more the one that `metadata` says.
pub(super) async fn apply_status(
    api: &Api<DynamicObject>,
    (watched, manager): (&Watched, &str),
    metadata: Value,
    status: Value,
) -> Result<Option<DynamicObject>, String> {
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    let resource = watched.resource();
    let patch = json!({
        "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "status": status,
    });
    let params = PatchParams::apply(manager).force();
    current(answered(api.patch_status(&name, &params, &Patch::Apply(patch))).await)
}

/// Nothing when the object went or changed in the meantime.
pub(super) fn current(answer: Result<DynamicObject, String>) -> Result<Option<DynamicObject>, String> {
    match answer {
        Err(error) if error.contains("NotFound") || error.contains("Conflict") => Ok(None),
        outcome => outcome.map(Some),
    }
}

async fn write(client: &Client, service: &ObjectName, addresses: &[IpAddr]) -> Result<(), kube::Error> {
    let Some(services) = kinds::of(Kind::Service) else { return Ok(()) };
    let api = services.api(client, &service.namespace);
    let ingress: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip.to_string(), "ipMode": "VIP"})).collect();
    let balancer = if ingress.is_empty() { json!({}) } else { json!({ "ingress": ingress }) };
    let patch = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service.name},
        "status": {"loadBalancer": balancer},
    });
    log::info!("writing addresses service={service} addresses={addresses:?}");
    api.patch_status(&service.name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await.map(drop)
}
