//! What Services say of their owner and of the traffic of their pods: annotation `sortie.dev/owner-node` and condition
//! `sortie.dev/EgressReady`.
//!
//! Guarantees: the owner alone writes of a Service that has one, and the leader of the others; a write that crosses
//! another one is refused by the API server and judged anew, so that of two owners the present one has the last word;
//! nothing is written that is there already, and no Service more than once in a second by one helper. Leaves out: who
//! owns ([`crate::node`]).

mod ledger;

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use sortie_core::model::{Kind, ObjectKey, ObjectName};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep, timeout};

use super::events::{Happening, Teller, Weight};
use super::kinds;
use super::statuses::told::condition;
use super::trouble::Trouble;
use super::write::{answered, apply_status, current};
use crate::due::{Due, Standing};
pub(super) use ledger::{Known, Ledger, Said};

/// Who owns the fields, whichever node writes.
pub(super) const MANAGER: &str = "sortie-owner";
/// The annotation and the condition.
const OWNER: &str = "sortie.dev/owner-node";
/// kube-vip's name for the same, for those who look for it there.
const VIP_HOST: &str = "kube-vip.io/vipHost";
const READY: &str = "sortie.dev/EgressReady";
/// Least time between two writes of one Service.
const PACE: Duration = Duration::from_secs(1);
/// Time until everything is looked at although nothing is new.
const LOOK: Duration = Duration::from_secs(60);
/// How long nobody owns until that is written.
const RIPE: Duration = Duration::from_secs(5);
/// Time until what failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// What Services should say; nothing if they should say nothing.
type Wanted = BTreeMap<ObjectName, Option<Standing>>;

/// Keeps the Services that this node owns to what is due.
pub(super) async fn tell(mut scribe: Scribe, mut due: Receiver<Due>) {
    let mut trouble = Trouble::default();
    loop {
        let wanted = due.borrow_and_update().standings.clone().unwrap_or_default();
        let owned = wanted.here.into_iter().filter(|(_, standing)| standing.owner.is_some());
        let owned = owned.map(|(name, standing)| (name, Some(standing))).collect();
        if trouble.has_failed("owners of Services cannot be written", scribe.bring(&owned).await) {
            sleep(AGAIN).await;
        }
        let pause = scribe.pause();
        tokio::select! {
            changed = due.changed() => if changed.is_err() { return },
            changed = scribe.said.changed() => if changed.is_err() { return },
            () = sleep(pause) => {}
        }
    }
}

/// Who writes, and what is known of what was written.
pub(super) struct Scribe {
    client: Client,
    said: Receiver<Known>,
    events: Teller,
    written: BTreeMap<ObjectName, Instant>,
    /// Services that nobody owns or that have nothing to do with us any more, since when.
    orphans: BTreeMap<ObjectName, Instant>,
}

impl Scribe {
    pub(super) fn new(client: Client, said: Receiver<Known>, events: Teller) -> Self {
        Self { client, said, events, written: BTreeMap::new(), orphans: BTreeMap::new() }
    }

    /// When to look again although nothing is new: what was written a moment ago may have to be written anew.
    fn pause(&self) -> Duration {
        if self.written.is_empty() { LOOK } else { PACE }
    }

    /// Writes of the Services that nobody has owned for a while, and takes back what those say that have nothing to do
    /// with us any more.
    pub(super) async fn bring_orphans(&mut self, due: &Due) -> Result<(), String> {
        let Some(standings) = &due.standings else { return Ok(()) };
        let is_former =
            |name: &&ObjectName| !standings.here.contains_key(*name) && !standings.elsewhere.contains(*name);
        let former: Vec<ObjectName> = self.said.borrow().keys().filter(is_former).cloned().collect();
        let nobodys = standings.here.iter().filter(|(_, standing)| standing.owner.is_none());
        let nobodys = nobodys.map(|(name, standing)| (name.clone(), Some(standing.clone())));
        let mut wanted: Wanted = nobodys.chain(former.into_iter().map(|name| (name, None))).collect();
        let now = Instant::now();
        let since = |name| self.orphans.get(name).copied().unwrap_or(now);
        self.orphans = wanted.keys().map(|name| (name.clone(), since(name))).collect();
        wanted.retain(|name, _| self.orphans.get(name).is_some_and(|since| since.elapsed() >= RIPE));
        self.bring(&wanted).await
    }

    async fn bring(&mut self, wanted: &Wanted) -> Result<(), String> {
        self.written.retain(|_, at| at.elapsed() < PACE);
        let known = self.said.borrow_and_update().clone();
        let mut outcome = Ok(());
        for (name, standing) in wanted {
            let is_this = |said: &&Said| standing.as_ref().is_none_or(|standing| standing.uid == said.uid);
            let Some(said) = known.get(name).filter(is_this) else { continue };
            if self.written.contains_key(name) || says(said, standing.as_ref()) {
                continue;
            }
            let written = timeout(AGAIN * 3, self.write(name, standing.as_ref(), said)).await;
            match written.unwrap_or_else(|_| Err("no answer".to_owned())) {
                Ok(()) => drop(self.written.insert(name.clone(), Instant::now())),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// First the annotation, then the condition; what changed meanwhile is judged anew when the watch tells of it.
    async fn write(&self, name: &ObjectName, standing: Option<&Standing>, said: &Said) -> Result<(), String> {
        let Some(services) = kinds::of(Kind::Service) else { return Ok(()) };
        let api = services.api(&self.client, &name.namespace);
        let params = PatchParams::apply(MANAGER).force();
        let owner = standing.and_then(|standing| standing.owner.as_ref());
        log::info!("writing owner service={name} owner={owner:?} ready={:?}", standing.map(|s| s.ready.holds));
        let mut metadata = json!({"name": name.name, "uid": said.uid, "resourceVersion": said.version});
        if owner != said.owner.as_ref() || !said.agrees {
            let named = |owner| said.names.iter().map(|name| ((*name).to_owned(), owner)).collect::<BTreeMap<_, _>>();
            let mut patch = metadata.clone();
            patch["annotations"] = json!(owner.map(named).unwrap_or_default());
            let patch = json!({"apiVersion": "v1", "kind": "Service", "metadata": patch});
            match current(answered(api.patch(&name.name, &params, &Patch::Apply(patch))).await)? {
                Some(object) => metadata["resourceVersion"] = object.metadata.resource_version.into(),
                None => return Ok(()),
            }
        }
        let conditions: Vec<Value> = standing.map(|standing| wanted(said, standing)).into_iter().collect();
        let status = json!({"conditions": conditions});
        if apply_status(&api, (services, MANAGER), metadata, status).await?.is_some() {
            let happened = standing.map(|standing| happened(name, standing, said)).unwrap_or_default();
            happened.into_iter().for_each(|happening| self.events.tell(happening));
        }
        Ok(())
    }
}

fn wanted(said: &Said, standing: &Standing) -> Value {
    let now = json!({"conditions": [said.ready]});
    condition(&now, READY, &standing.ready, None)
}

fn says(said: &Said, standing: Option<&Standing>) -> bool {
    match standing {
        Some(standing) => said.owner == standing.owner && said.agrees && said.ready == wanted(said, standing),
        None => said.owner.is_none() && said.agrees && said.ready.is_null(),
    }
}

/// Another owner, and traffic that cannot leave any more or can again.
fn happened(name: &ObjectName, standing: &Standing, said: &Said) -> Vec<Happening> {
    let object = ObjectKey { kind: Kind::Service, name: name.clone() };
    let happening = |weight, reason: &str, note| Happening {
        object: object.clone(),
        uid: standing.uid.clone(),
        weight,
        reason: reason.to_owned(),
        note,
    };
    let mut all = Vec::new();
    if let Some(owner) = standing.owner.as_ref().filter(|owner| said.owner.as_ref() != Some(*owner)) {
        let before = said.owner.as_ref().map(|before| format!(" after {before}")).unwrap_or_default();
        all.push(happening(Weight::Normal, "OwnerChanged", format!("node {owner} holds its addresses{before}")));
    }
    let (was, is) = (said.ready["status"].as_str(), standing.ready.holds);
    if !is && was != Some("False") {
        all.push(happening(Weight::Warning, &format!("{:?}", standing.ready.reason), standing.ready.message.clone()));
    } else if is && was == Some("False") {
        all.push(happening(Weight::Normal, "EgressReady", standing.ready.message.clone()));
    }
    all
}

#[cfg(test)]
mod tests;
