//! Numbers given to routes and paths: tables, exits, paths.
//!
//! Guarantees: a number once given stays while its owner exists, no number has two owners, the result
//! does not depend on the order of objects. Leaves out: keeping the numbers (the helper writes them to
//! disk; lost ones are given again in name order).

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

/// The allocation for this world, and the routes that get none.
#[must_use]
pub fn allocate(
    old: &Allocation,
    world: &World,
    facts: &NodeFacts,
    numbers: Numbers,
) -> (Allocation, Vec<(ObjectKey, Rejection)>) {
    let mut refused = Vec::new();
    let ours: BTreeSet<u32> = old.tables.values().copied().collect();
    let taken = facts.foreign_tables.difference(&ours).copied().collect();
    let tables = tables(old, world, Ranges { numbers, taken }, &mut refused);
    let exits = exits(old, &tables, &mut refused);
    let tables: BTreeMap<_, _> = tables.into_iter().filter(|(name, _)| exits.contains_key(name)).collect();
    let paths = paths(old, exits.keys());
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

fn paths<'a>(old: &Allocation, routes: impl Iterator<Item = &'a String>) -> BTreeMap<PathKey, u16> {
    let of_route = |route: &String| {
        [PathSource::Device, PathSource::Pod].map(|source| PathKey::Route { route: route.clone(), source })
    };
    let wanted: BTreeSet<PathKey> = routes.flat_map(of_route).chain([PathKey::Closed]).collect();
    let mut given: BTreeMap<PathKey, u16> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (path, number) in &old.paths {
        if wanted.contains(path) && *number > 0 && taken.insert(*number) {
            given.insert(path.clone(), *number);
        }
    }
    for path in wanted {
        if given.contains_key(&path) {
            continue;
        }
        if let Some(number) = (1..=u16::MAX).find(|n| !taken.contains(n)) {
            taken.insert(number);
            given.insert(path, number);
        }
    }
    given
}

fn refuse(route: &str, field: &str, message: String, remedy: &str) -> (ObjectKey, Rejection) {
    let name = ObjectName { namespace: String::new(), name: route.to_owned() };
    let key = ObjectKey { kind: Kind::ServiceOutboundRoute, name };
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
