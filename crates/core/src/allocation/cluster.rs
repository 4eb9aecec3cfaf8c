//! Tables that are the same on every node of a cluster.
//!
//! Guarantees: a route keeps the table that its status names; no two routes get one; what one route gives up here is
//! not given to another at the same time. Leaves out: writing it down, and that only one does (the helper's leader).

use std::collections::{BTreeMap, BTreeSet};

use super::refuse;
use crate::model::{ObjectKey, Reason, Rejection, ServiceOutboundRoute};
use crate::world::World;

/// Routes, older ones first.
#[must_use]
pub fn in_line(world: &World) -> Vec<&ServiceOutboundRoute> {
    let mut routes: Vec<_> = world.routes.values().collect();
    routes.sort_by(|a, b| (&a.meta.created, &a.name).cmp(&(&b.meta.created, &b.name)));
    routes
}

/// The table that each route should have by its status, and the routes whose `spec.tableId` cannot be. New tables are
/// of the inclusive range and none of those that are taken.
#[must_use]
pub fn cluster_tables(
    world: &World,
    (first, last): (u32, u32),
    taken: &BTreeSet<u32>,
) -> (BTreeMap<String, u32>, Vec<(ObjectKey, Rejection)>) {
    let (mut given, mut used, mut refused) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    for route in in_line(world) {
        if let Some(id) = route.given_table.filter(|id| used.insert(*id)) {
            given.insert(route.name.clone(), id);
        }
    }
    for route in in_line(world) {
        let Some(id) = route.table_id.filter(|id| given.get(&route.name) != Some(id)) else { continue };
        if used.insert(id) {
            given.insert(route.name.clone(), id);
        } else {
            refused.push(in_use(route, "spec.tableId", id));
        }
    }
    for route in in_line(world).into_iter().filter(|route| route.table_id.is_none()) {
        if given.contains_key(&route.name) {
            continue;
        }
        match (first..=last).find(|id| !taken.contains(id) && !used.contains(id)) {
            Some(id) => {
                used.insert(id);
                given.insert(route.name.clone(), id);
            }
            None => {
                let message = "no free table is left".to_owned();
                refused.push(refuse(&route.name, "status.tableId", message, "widen --table-range"));
            }
        }
    }
    (given, refused)
}

/// The tables that were given, as far as this node can use them.
pub(super) fn given(
    world: &World,
    mut taken: BTreeSet<u32>,
    refused: &mut Vec<(ObjectKey, Rejection)>,
) -> BTreeMap<String, u32> {
    let mut given = BTreeMap::new();
    for route in in_line(world) {
        match route.given_table {
            None => refused.push(pending(route)),
            Some(id) if taken.insert(id) => drop(given.insert(route.name.clone(), id)),
            Some(id) => refused.push(in_use(route, "status.tableId", id)),
        }
    }
    given
}

fn in_use(route: &ServiceOutboundRoute, field: &str, id: u32) -> (ObjectKey, Rejection) {
    let remedy = "choose a free table, or create the route anew without tableId";
    refuse(&route.name, field, format!("table {id} is already in use"), remedy)
}

fn pending(route: &ServiceOutboundRoute) -> (ObjectKey, Rejection) {
    let remedy = "wait for the helper that holds the Lease sortie-leader";
    let (key, rejection) = refuse(&route.name, "status.tableId", "no table was given yet".to_owned(), remedy);
    (key, Rejection { reason: Reason::Pending, ..rejection })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::object_of_api;

    /// `(name, second of creation, spec.tableId, status.tableId)`.
    type Sketch = (&'static str, u8, Option<u32>, Option<u32>);

    fn world(routes: &[Sketch]) -> World {
        let object = |(name, second, spec, status): &Sketch| {
            let json = serde_json::json!({
                "apiVersion": "sortie.dev/v1alpha1", "kind": "ServiceOutboundRoute",
                "metadata": {"name": name, "creationTimestamp": format!("2020-01-01T00:00:{second:02}Z")},
                "spec": {"nextHops": [{"device": "eth1"}], "allowedNamespaces": {"from": "All"}, "tableId": spec},
                "status": {"tableId": status},
            });
            object_of_api(json).unwrap().object.unwrap()
        };
        World::of(routes.iter().map(object))
    }

    fn give(routes: &[Sketch]) -> (Vec<(String, u32)>, usize) {
        let (given, refused) = cluster_tables(&world(routes), (100, 103), &BTreeSet::from([100]));
        (given.into_iter().collect(), refused.len())
    }

    fn pairs(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
        pairs.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect()
    }

    #[test]
    fn a_route_keeps_its_table_and_a_new_one_gets_another() {
        let routes = [("b", 1, None, Some(101)), ("a", 2, None, None), ("c", 3, None, Some(5000))];
        assert_eq!(give(&routes), (pairs(&[("a", 102), ("b", 101), ("c", 5000)]), 0));
    }

    #[test]
    fn nobody_gets_the_table_of_another_by_asking_for_it() {
        let routes = [("old", 1, None, Some(101)), ("asks", 2, Some(101), None), ("free", 3, Some(9), None)];
        assert_eq!(give(&routes), (pairs(&[("free", 9), ("old", 101)]), 1));
    }

    #[test]
    fn of_two_with_one_table_the_older_keeps_it() {
        let routes = [("young", 2, None, Some(101)), ("old", 3, None, None), ("first", 1, None, Some(101))];
        assert_eq!(give(&routes), (pairs(&[("first", 101), ("old", 103), ("young", 102)]), 0));
    }

    #[test]
    fn what_is_given_up_is_not_given_away_at_once_and_a_full_range_is_said() {
        let routes =
            [("a", 1, Some(7), Some(101)), ("b", 2, None, Some(102)), ("c", 3, None, None), ("d", 4, None, None)];
        assert_eq!(give(&routes), (pairs(&[("a", 7), ("b", 102), ("c", 103)]), 1));
    }

    #[test]
    fn a_node_uses_what_was_given_and_waits_for_the_rest() {
        let world = world(&[("a", 1, Some(7), None), ("b", 2, None, Some(101)), ("c", 3, None, Some(102))]);
        let mut refused = Vec::new();
        let used = given(&world, BTreeSet::from([102]), &mut refused);
        assert_eq!(used, BTreeMap::from([("b".to_owned(), 101)]));
        let reasons: Vec<_> = refused.iter().map(|(_, rejection)| rejection.reason).collect();
        assert_eq!(reasons, [Reason::Pending, Reason::Invalid]);
    }

    #[test]
    fn a_status_that_nobody_could_have_written_gives_nothing() {
        assert_eq!(world(&[("a", 1, None, Some(254))]).routes["a"].given_table, None);
    }
}
