//! Numbers given to routes and paths: tables, exits, paths.
//!
//! Guarantees: a number once given stays while its owner exists, no number has two owners, the result
//! does not depend on the order of objects. Leaves out: keeping the numbers (the helper writes them to
//! disk; lost ones are given again in name order).

mod cluster;

pub use cluster::{cluster_tables, in_line};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{EXIT_ROUTE_MAX, Numbers};
use crate::model::{Kind, ObjectKey, ObjectName, Reason, Rejection};
use crate::selection::{PathKey, PathSource};
use crate::world::{NodeFacts, World};

/// Numbers in use on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Allocation {
    /// Routing table by route.
    pub tables: BTreeMap<String, u32>,
    /// Exit by route, 1..=[`EXIT_ROUTE_MAX`].
    pub exits: BTreeMap<String, u8>,
    /// Path numbers, from 1.
    #[serde(with = "pairs")]
    pub paths: BTreeMap<PathKey, u16>,
}

/// What needs numbers.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// Objects.
    pub world: &'a World,
    /// What the node is like.
    pub facts: &'a NodeFacts,
    /// Marks and ranges.
    pub numbers: Numbers,
    /// Paths with addresses of Services; every route's own paths are numbered anyway.
    pub addresses: &'a BTreeSet<PathKey>,
    /// Who gives tables to routes.
    pub giver: Giver,
}

/// Who gives tables to routes and addresses to Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Giver {
    /// Every node for itself; it keeps them on disk.
    Here,
    /// One for the whole cluster, by the status of the objects: a route without a table has no exit yet.
    Cluster,
}

/// The allocation for this demand, and the objects that get none.
#[must_use]
pub fn allocate(old: &Allocation, demand: &Demand<'_>) -> (Allocation, Vec<(ObjectKey, Rejection)>) {
    let mut refused = Vec::new();
    let ours: BTreeSet<u32> = old.tables.values().copied().collect();
    let taken = demand.facts.foreign_tables.difference(&ours).copied().collect();
    let ranges = Ranges { numbers: demand.numbers, taken };
    let tables = match demand.giver {
        Giver::Here => tables(old, demand.world, ranges, &mut refused),
        Giver::Cluster => cluster::given(demand.world, ranges.taken, &mut refused),
    };
    let exits = exits(old, &tables, &mut refused);
    let tables: BTreeMap<_, _> = tables.into_iter().filter(|(name, _)| exits.contains_key(name)).collect();
    let paths = paths(old, wanted(exits.keys(), demand.addresses), demand.numbers, &mut refused);
    (Allocation { tables, exits, paths }, refused)
}

/// Where tables may be, and where they may not.
struct Ranges {
    numbers: Numbers,
    taken: BTreeSet<u32>,
}

fn tables(
    old: &Allocation,
    world: &World,
    ranges: Ranges,
    refused: &mut Vec<(ObjectKey, Rejection)>,
) -> BTreeMap<String, u32> {
    let mut given = BTreeMap::new();
    let Ranges { numbers, mut taken } = ranges;
    for route in world.routes.values() {
        let Some(id) = route.table_id else { continue };
        if taken.insert(id) {
            given.insert(route.name.clone(), id);
        } else {
            refused.push(refuse(
                &route.name,
                "spec.tableId",
                format!("table {id} is already in use"),
                "choose a free table or leave tableId out",
            ));
        }
    }
    let open = |given: &BTreeMap<String, u32>| {
        world
            .routes
            .values()
            .filter(|r| r.table_id.is_none() && !given.contains_key(&r.name))
            .map(|r| r.name.clone())
            .collect::<Vec<_>>()
    };
    let in_range = |id: &u32| (numbers.tables.0..=numbers.tables.1).contains(id);
    for name in open(&given) {
        if let Some(id) = old.tables.get(&name).filter(|id| in_range(id)).filter(|id| taken.insert(**id)) {
            given.insert(name, *id);
        }
    }
    for name in open(&given) {
        match (numbers.tables.0..=numbers.tables.1).find(|id| !taken.contains(id)) {
            Some(id) => {
                taken.insert(id);
                given.insert(name, id);
            }
            None => {
                refused.push(refuse(&name, "spec.tableId", "no free table is left".to_owned(), "widen --table-range"))
            }
        }
    }
    given
}

fn exits(
    old: &Allocation,
    tables: &BTreeMap<String, u32>,
    refused: &mut Vec<(ObjectKey, Rejection)>,
) -> BTreeMap<String, u8> {
    let mut given: BTreeMap<String, u8> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (name, exit) in &old.exits {
        if tables.contains_key(name) && (1..=EXIT_ROUTE_MAX).contains(exit) && taken.insert(*exit) {
            given.insert(name.clone(), *exit);
        }
    }
    for name in tables.keys() {
        if given.contains_key(name) {
            continue;
        }
        match (1..=EXIT_ROUTE_MAX).find(|e| !taken.contains(e)) {
            Some(exit) => {
                taken.insert(exit);
                given.insert(name.clone(), exit);
            }
            None => {
                let message = format!("a node can exit by {EXIT_ROUTE_MAX} routes at most");
                refused.push(refuse(name, "metadata.name", message, "remove a route that is not used"));
            }
        }
    }
    given
}

/// Paths of the routes first: without them not even their pods' own traffic is closed by a path of its own.
fn wanted<'a>(routes: impl Iterator<Item = &'a String> + Clone, addresses: &BTreeSet<PathKey>) -> Vec<PathKey> {
    let of_route = |route: &String| {
        [PathSource::Device, PathSource::Pod].map(|source| PathKey::Route { route: route.clone(), source })
    };
    let known: BTreeSet<&String> = routes.clone().collect();
    let leads_out = |path: &&PathKey| path.route().is_none_or(|route| known.contains(&route.to_owned()));
    let own = routes.flat_map(of_route);
    own.chain([PathKey::Closed]).chain(addresses.iter().filter(leads_out).cloned()).collect()
}

fn paths(
    old: &Allocation,
    wanted: Vec<PathKey>,
    numbers: Numbers,
    refused: &mut Vec<(ObjectKey, Rejection)>,
) -> BTreeMap<PathKey, u16> {
    let most = u16::try_from(numbers.ct_mark.read(u32::MAX)).unwrap_or(u16::MAX);
    let is_wanted: BTreeSet<&PathKey> = wanted.iter().collect();
    let mut taken = BTreeSet::new();
    let kept = old.paths.iter().filter(|(path, n)| is_wanted.contains(path) && (1..=most).contains(*n));
    let kept: Vec<_> = kept.filter(|(_, number)| taken.insert(**number)).collect();
    let mut given: BTreeMap<PathKey, u16> = kept.into_iter().map(|(path, number)| (path.clone(), *number)).collect();
    let mut free = (1..=most).filter(|number| !taken.contains(number));
    for path in wanted {
        if given.contains_key(&path) {
            continue;
        }
        match free.next() {
            Some(number) => drop(given.insert(path, number)),
            None => refused.push(unnumbered(&path, most)),
        }
    }
    given
}

fn unnumbered(path: &PathKey, most: u16) -> (ObjectKey, Rejection) {
    let key = match (path.service(), path.route()) {
        (Some(service), _) => ObjectKey { kind: Kind::Service, name: service.clone() },
        (None, route) => route_key(route.unwrap_or_default()),
    };
    let rejection = Rejection {
        reason: Reason::Invalid,
        object: key.to_string(),
        field: "metadata.name".to_owned(),
        message: format!("a node can hold {most} paths at most; flows of this one are dropped"),
        remedy: "widen --ct-mark or remove Services and routes that are not used".to_owned(),
    };
    (key, rejection)
}

fn route_key(route: &str) -> ObjectKey {
    let name = ObjectName { namespace: String::new(), name: route.to_owned() };
    ObjectKey { kind: Kind::ServiceOutboundRoute, name }
}

fn refuse(route: &str, field: &str, message: String, remedy: &str) -> (ObjectKey, Rejection) {
    let key = route_key(route);
    let rejection = Rejection {
        reason: Reason::Invalid,
        object: key.to_string(),
        field: field.to_owned(),
        message,
        remedy: remedy.to_owned(),
    };
    (key, rejection)
}

/// A map with structured keys as a list of pairs, which JSON can hold.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::PathKey;

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<PathKey, u16>, to: S) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<PathKey, u16>, D::Error> {
        Ok(Vec::<(PathKey, u16)>::deserialize(from)?.into_iter().collect())
    }
}
