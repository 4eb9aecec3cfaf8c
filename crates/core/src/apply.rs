//! Steps on a state in memory: what the kernel is believed to hold, and the kernel of the tests.
//!
//! Guarantees: `apply` does to a [`NodeState`] what [`crate::state::Step`] promises to do to a kernel.
//! Leaves out: connection tracking, which no state holds.

use crate::state::{NftChange, NftEdit, NftElement, NftTable, NodeState, Route, Step, TableFamily};

/// Applies one step.
pub fn apply(state: &mut NodeState, step: &Step) {
    match step {
        Step::EnableSrcValidMark(device) => drop(state.src_valid_mark.insert(device.clone())),
        Step::RestoreSrcValidMark(device) => drop(state.src_valid_mark.remove(device)),
        Step::EnsureRoute(route) => ensure_route(state, route),
        Step::RemoveRoute(route) => drop(state.routes.remove(route)),
        Step::EnsureRule(rule) => drop(state.rules.insert(rule.clone())),
        Step::RemoveRule(rule) => drop(state.rules.remove(rule)),
        Step::EnsureTunnel(tunnel) => state.tunnel = Some(tunnel.clone()),
        Step::RemoveTunnel => state.tunnel = None,
        Step::Nft(NftChange::Replace(table)) => *slot(state, table.family) = Some(table.clone()),
        Step::Nft(NftChange::Delete(family)) => *slot(state, *family) = None,
        Step::Nft(NftChange::Edit(edit)) => edit_table(slot(state, edit.family).get_or_insert_default(), edit),
        Step::Elements { family, remove, add } => {
            change_elements(slot(state, *family).get_or_insert_default(), remove, add);
        }
        Step::PurgeConntrack(_) => {}
    }
}

fn slot(state: &mut NodeState, family: TableFamily) -> &mut Option<NftTable> {
    match family {
        TableFamily::Inet => &mut state.nft,
        TableFamily::Netdev => &mut state.frames,
    }
}

fn ensure_route(state: &mut NodeState, route: &Route) {
    let place = |r: &Route| (r.table, r.destination, r.metric);
    state.routes.retain(|r| place(r) != place(route));
    state.routes.insert(route.clone());
}

fn edit_table(table: &mut NftTable, edit: &NftEdit) {
    table.chains.extend(edit.chains.iter().map(|(n, c)| (n.clone(), c.clone())));
    change_elements(table, &edit.remove, &edit.add);
    table.chains.retain(|name, _| !edit.remove_chains.contains(name));
}

fn change_elements(table: &mut NftTable, remove: &[NftElement], add: &[NftElement]) {
    for element in remove {
        if let Some(map) = table.maps.get_mut(&element.map) {
            map.elements.remove(&element.key);
        }
    }
    for element in add {
        if let Some(map) = table.maps.get_mut(&element.map) {
            map.elements.insert(element.key, element.value.clone());
        }
    }
}
