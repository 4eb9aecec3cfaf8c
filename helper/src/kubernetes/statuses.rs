//! Status of our objects, as the leader writes it.
//!
//! Guarantees: tables are given by what the API server holds at that moment, so that no two routes get one; nothing is
//! written that is there already, and no object more than once in a second. Leaves out: what nodes say for themselves.

pub(super) mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::Client;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};
use sortie_core::allocation::cluster_tables;
use sortie_core::model::{Kind, ObjectKey, ObjectName};
use sortie_core::world::World;
use tokio::time::Instant;

use super::entries;
use super::events::{Happening, Teller, Weight};
use super::kinds::{self, Watched};
use super::write::{MANAGER, answered, apply_status};
use crate::due::{Due, Judged, Tables, Verdict};

/// Kinds with a status of ours.
const KINDS: [Kind; 3] = [Kind::ServiceOutboundRoute, Kind::EgressPolicy, Kind::AddressPool];
/// Least time between two writes of one object.
const PACE: Duration = Duration::from_secs(1);
/// Time after which routes and policies are looked at although nothing is new: nodes write their part into them.
const AGAIN: Duration = Duration::from_secs(10);
/// Objects in a page.
const PAGE: u32 = 500;

/// What is due for one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    tables: Option<Tables>,
    /// All nodes, where they have entries.
    nodes: BTreeSet<String>,
    judged: BTreeMap<ObjectName, Judged>,
}

/// What this leader wrote, and when.
pub(super) struct Statuses {
    client: Client,
    events: Teller,
    done: BTreeMap<Kind, (Instant, Part)>,
}

impl Statuses {
    pub(super) fn new(client: Client, events: Teller) -> Self {
        Self { client, events, done: BTreeMap::new() }
    }

    /// Somebody else may write from now on.
    pub(super) fn forget(&mut self) {
        self.done.clear();
    }

    /// When there is something to do at the latest.
    pub(super) fn next(&self, due: &Due) -> Instant {
        let of_kind = |kind| match self.done.get(&kind) {
            Some((at, part)) if *part == part_of(due, kind) => *at + AGAIN,
            Some((at, _)) => *at + PACE,
            None => Instant::now() + PACE,
        };
        KINDS.map(of_kind).into_iter().min().unwrap_or_else(Instant::now)
    }

    /// Brings the status of all objects to what is due, as far as that can be done in time. One kind that cannot be
    /// written does not keep the others from it.
    pub(super) async fn bring(&mut self, due: &Due, until: Instant) -> Result<(), String> {
        let mut outcome = Ok(());
        for kind in KINDS {
            let part = part_of(due, kind);
            if self.is_done(kind, &part) {
                continue;
            }
            match self.bring_kind(kind, &part, until).await {
                Ok(Progress::All) => drop(self.done.insert(kind, (Instant::now(), part))),
                Ok(Progress::Some) => {}
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    fn is_done(&self, kind: Kind, part: &Part) -> bool {
        self.done.get(&kind).is_some_and(|(at, done)| {
            at.elapsed() < PACE || done == part && (kind == Kind::AddressPool || at.elapsed() < AGAIN)
        })
    }

    async fn bring_kind(&self, kind: Kind, part: &Part, until: Instant) -> Result<Progress, String> {
        let Some(watched) = kinds::of(kind) else { return Ok(Progress::All) };
        let objects = list(&self.client, watched).await?;
        let tables = tables(watched, &objects, part);
        for object in &objects {
            self.bury(watched, object, &part.nodes).await?;
            let Some((name, judged)) = judged(object, part) else { continue };
            let now = &object.data["status"];
            let status = match kind {
                Kind::ServiceOutboundRoute => told::route(judged, now, tables.get(&name.name)),
                Kind::EgressPolicy => told::policy(judged, now),
                _ => told::pool(judged, now),
            };
            if told::says(now, &status) {
                continue;
            }
            if Instant::now() > until {
                return Ok(Progress::Some);
            }
            self.write(watched, name, &status).await?;
            self.tell(kind, object, told::turn(now, &status));
        }
        Ok(Progress::All)
    }

    /// Takes back what nodes said that are no more: nobody else may.
    async fn bury(&self, watched: &Watched, object: &DynamicObject, nodes: &BTreeSet<String>) -> Result<(), String> {
        for gone in told::strangers(&object.data["status"], nodes) {
            let name = name(object);
            log::info!("taking back what a node said that is gone node={gone} object=\"{:?} {name}\"", watched.kind);
            let (api, metadata) = (watched.api(&self.client, &name.namespace), json!({"name": name.name}));
            apply_status(&api, (watched, &entries::manager(gone)), metadata, json!({})).await?;
        }
        Ok(())
    }

    fn tell(&self, kind: Kind, object: &DynamicObject, turn: Option<(bool, String, String)>) {
        let Some((is_bad, reason, note)) = turn else { return };
        let object_key = ObjectKey { kind, name: name(object) };
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let weight = if is_bad { Weight::Warning } else { Weight::Normal };
        self.events.tell(Happening { object: object_key, uid, weight, reason, note });
    }

    async fn write(&self, watched: &Watched, name: &ObjectName, status: &Value) -> Result<(), String> {
        log::info!("writing status object=\"{:?} {name}\"", watched.kind);
        let (api, metadata) = (watched.api(&self.client, &name.namespace), json!({"name": name.name}));
        apply_status(&api, (watched, MANAGER), metadata, status.clone()).await.map(drop)
    }
}

/// All objects of a kind.
pub(super) async fn list(client: &Client, watched: &Watched) -> Result<Vec<DynamicObject>, String> {
    let api = watched.api(client, "");
    let (mut found, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let list = answered(api.list(&page)).await?;
        found.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// How much was written.
enum Progress {
    All,
    Some,
}

fn part_of(due: &Due, kind: Kind) -> Part {
    let tables = due.tables.clone().filter(|_| kind == Kind::ServiceOutboundRoute);
    let nodes = if entries::KINDS.contains(&kind) { due.nodes.clone() } else { BTreeSet::new() };
    Part { tables, nodes, judged: due.judged.get(&kind).cloned().unwrap_or_default() }
}

/// What is thought of the very object, not of another one of its name.
fn judged<'a>(object: &DynamicObject, part: &'a Part) -> Option<(&'a ObjectName, &'a Judged)> {
    let uid = object.metadata.uid.clone().unwrap_or_default();
    part.judged.get_key_value(&name(object)).filter(|(_, judged)| judged.uid.is_empty() || judged.uid == uid)
}

pub(super) fn name(object: &DynamicObject) -> ObjectName {
    let (namespace, name) = (object.metadata.namespace.clone(), object.metadata.name.clone());
    ObjectName { namespace: namespace.unwrap_or_default(), name: name.unwrap_or_default() }
}

/// The table that each route should have, or why it has none. A route that cannot be read keeps what it has.
fn tables(
    watched: &Watched,
    objects: &[DynamicObject],
    part: &Part,
) -> BTreeMap<String, Result<u32, (Option<u32>, Verdict)>> {
    let Some(tables) = &part.tables else { return BTreeMap::new() };
    let read = |object: &DynamicObject| watched.read(object.clone())?.object.ok();
    let unread = objects.iter().filter(|object| read(object).is_none());
    let kept: BTreeSet<u32> = unread.filter_map(|object| told::table(&object.data["status"])).collect();
    let world = World::of(objects.iter().filter_map(read));
    let taken = tables.taken.union(&kept).copied().collect();
    let (given, refused) = cluster_tables(&world, tables.range, &taken);
    let mut found: BTreeMap<_, _> = given.iter().map(|(name, id)| (name.clone(), Ok(*id))).collect();
    for (key, rejection) in refused {
        let had = given.get(&key.name.name).copied();
        found.insert(key.name.name, Err((had, Verdict::from(&rejection))));
    }
    found
}
