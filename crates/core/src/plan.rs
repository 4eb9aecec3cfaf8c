//! The steps from observed to desired.
//!
//! Guarantees: after the steps nothing is left to do; what is not ours is not in either state, so no step
//! touches it; after any prefix of the steps a selected packet leaves by its route or not at all.
//! Leaves out: doing it.
//!
//! Order: tables before the rules that look them up, rules by mark before the marks, marks before the rules
//! that drop what has none; and backwards for what goes. What a flow needs on the way it has had goes after it has the
//! new one, and new chains come before the elements that lead to them: the moment at which a flow changes its way is one
//! short transaction.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::desired::{Desired, Member, PerPodRules};
use crate::ids::PRIORITY_POD_NONE;
use crate::nft::elements_of;
use crate::state::{
    ConntrackFilter, NftChange, NftEdit, NftElement, NftKey, NftMapKind, NftTable, NftValue, NodeState, Route,
    RouteKind, Rule, Step, TableFamily, Verdicts,
};

/// Everything that separates the two; empty when nothing does.
#[must_use]
pub fn plan(observed: &NodeState, desired: &Desired) -> Vec<Step> {
    let wanted = &desired.state;
    let is_fence = |rule: &&Rule| rule.priority == PRIORITY_POD_NONE;
    let (new_rules, old_rules) = (missing(&wanted.rules, &observed.rules), missing(&observed.rules, &wanted.rules));
    let mut steps = Vec::new();
    steps.extend(new_tunnel(observed, wanted));
    steps.extend(missing(&wanted.src_valid_mark, &observed.src_valid_mark).cloned().map(Step::EnableSrcValidMark));
    steps.extend(new_routes(observed, wanted).into_iter().map(Step::EnsureRoute));
    steps.extend(new_rules.clone().filter(|r| !is_fence(r)).cloned().map(Step::EnsureRule));
    steps.extend(old_rules.clone().filter(is_fence).cloned().map(Step::RemoveRule));
    let (new_frames, old_frames) = frames(observed, wanted);
    steps.extend(new_frames);
    let (old_chains, new_table) =
        nft(observed.nft.as_ref(), wanted.nft.as_ref()).into_iter().partition::<Vec<_>, _>(only_removes_chains);
    steps.extend(new_table);
    steps.extend(new_rules.filter(is_fence).cloned().map(Step::EnsureRule));
    steps.extend(purge(observed.nft.as_ref(), desired));
    steps.extend(old_chains);
    steps.extend(old_frames);
    steps.extend(old_rules.filter(|r| !is_fence(r)).cloned().map(Step::RemoveRule));
    steps.extend(old_routes(observed, wanted).into_iter().map(Step::RemoveRoute));
    steps.extend(missing(&observed.src_valid_mark, &wanted.src_valid_mark).cloned().map(Step::RestoreSrcValidMark));
    steps.extend(wanted.frames.is_none().then(|| nft(observed.frames.as_ref(), None)).into_iter().flatten());
    steps.extend((wanted.tunnel.is_none() && observed.tunnel.is_some()).then_some(Step::RemoveTunnel));
    steps
}

/// Whether no packet notices when a step of a plan is done later: it removes what was needed for a way that flows have
/// not any more.
#[must_use]
pub fn may_wait(step: &Step) -> bool {
    match step {
        Step::RemoveRule(rule) => rule.priority != PRIORITY_POD_NONE,
        Step::RemoveRoute(_) | Step::RestoreSrcValidMark(_) | Step::RemoveTunnel => true,
        Step::Elements { family: TableFamily::Netdev, add, .. } => add.is_empty(),
        other => only_removes_chains(other),
    }
}

fn only_removes_chains(step: &Step) -> bool {
    matches!(step, Step::Nft(NftChange::Edit(edit)) if edit.only_removes_chains())
}

/// The state without anything of ours.
#[must_use]
pub fn nothing(path_mask: u32) -> Desired {
    Desired {
        state: NodeState::default(),
        per_pod_rules: PerPodRules::Absent,
        verdicts: std::collections::BTreeMap::new(),
        path_mask,
        addresses: std::collections::BTreeMap::new(),
    }
}

/// What one new attachment needs on top of `observed`; `None` when the skeleton is not there.
#[must_use]
pub fn attach(observed: &NodeState, member: &Member) -> Option<Vec<Step>> {
    let table = observed.nft.as_ref()?;
    let chains = member.chains.iter().filter(|(name, chain)| table.chains.get(*name) != Some(chain));
    let chains: std::collections::BTreeMap<_, _> = chains.map(|(n, c)| (n.clone(), c.clone())).collect();
    let differs = |e: &&NftElement| value(table, e) != Some(&e.value);
    let add: Vec<NftElement> = member.elements.iter().filter(differs).cloned().collect();
    let remove = add.iter().filter_map(|e| Some(NftElement { value: value(table, e)?.clone(), ..e.clone() })).collect();
    Some(nft_step(NftEdit { chains, remove, add, ..NftEdit::default() }).into_iter().collect())
}

/// What goes with an attachment: its elements and rules. Shared chains stay until the next full plan.
#[must_use]
pub fn detach(observed: &NodeState, member: &Member) -> Vec<Step> {
    let present = |e: &&NftElement| observed.nft.as_ref().is_some_and(|t| value(t, e).is_some());
    let remove: Vec<NftElement> = member.elements.iter().filter(present).cloned().collect();
    let mut rules: Vec<&Rule> = member.rules.iter().filter(|r| observed.rules.contains(*r)).collect();
    rules.sort_by_key(|r| std::cmp::Reverse(r.priority));
    let mut steps: Vec<Step> = rules.into_iter().cloned().map(Step::RemoveRule).collect();
    steps.extend(nft_step(NftEdit { remove, ..NftEdit::default() }));
    steps
}

fn missing<'a, T: Ord>(wanted: &'a BTreeSet<T>, there: &'a BTreeSet<T>) -> impl Iterator<Item = &'a T> + Clone {
    wanted.difference(there)
}

/// The device comes before whatever names it.
fn new_tunnel(observed: &NodeState, wanted: &NodeState) -> Option<Step> {
    let tunnel = wanted.tunnel.as_ref().filter(|_| wanted.tunnel != observed.tunnel)?;
    Some(Step::EnsureTunnel(tunnel.clone()))
}

/// The end of a table first, then its throws, then the ways out.
fn new_routes(observed: &NodeState, wanted: &NodeState) -> Vec<Route> {
    let mut routes: Vec<Route> = missing(&wanted.routes, &observed.routes).cloned().collect();
    routes.sort_by_key(|route| match route.kind {
        RouteKind::Unreachable => 0,
        RouteKind::Throw => 1,
        RouteKind::Unicast { .. } => 2,
    });
    routes
}

/// Routes that no wanted route replaces, the ways out first.
fn old_routes(observed: &NodeState, wanted: &NodeState) -> Vec<Route> {
    let place = |r: &Route| (r.table, r.destination, r.metric);
    let kept: BTreeSet<_> = wanted.routes.iter().map(place).collect();
    let mut routes: Vec<Route> = observed.routes.iter().filter(|r| !kept.contains(&place(r))).cloned().collect();
    routes.sort_by_key(|route| match route.kind {
        RouteKind::Unicast { .. } => 0,
        RouteKind::Throw => 1,
        RouteKind::Unreachable => 2,
    });
    routes
}

/// What comes to the addresses of frames, and what goes once nothing is sent with it any more.
fn frames(observed: &NodeState, wanted: &NodeState) -> (Vec<Step>, Option<Step>) {
    let steps = wanted.frames.as_ref().map_or_else(Vec::new, |table| nft(observed.frames.as_ref(), Some(table)));
    let [Step::Elements { family, remove, add }] = steps.as_slice() else { return (steps, None) };
    let new: BTreeSet<(&str, &NftKey)> = add.iter().map(|element| (element.map.as_str(), &element.key)).collect();
    let stays = |element: &NftElement| new.contains(&(element.map.as_str(), &element.key));
    let (replaced, gone) = remove.iter().cloned().partition(stays);
    let first = elements_step(*family, replaced, add.clone());
    (first.into_iter().collect(), elements_step(*family, gone, Vec::new()))
}

fn nft(observed: Option<&NftTable>, wanted: Option<&NftTable>) -> Vec<Step> {
    match (observed, wanted) {
        (None, None) => Vec::new(),
        (Some(old), None) => vec![Step::Nft(NftChange::Delete(old.family))],
        (None, Some(table)) => vec![Step::Nft(NftChange::Replace(table.clone()))],
        (Some(old), Some(new)) if !same_frame(old, new) => vec![Step::Nft(NftChange::Replace(new.clone()))],
        (Some(old), Some(new)) => edits(old, edit(old, new)),
    }
}

/// New chains lead nowhere before there are elements, and old ones do not when those are gone.
fn edits(old: &NftTable, edit: NftEdit) -> Vec<Step> {
    if edit.chains.keys().any(|name| old.chains.contains_key(name)) {
        return nft_step(edit).into_iter().collect();
    }
    let family = edit.family;
    let first = NftEdit { family, chains: edit.chains, ..NftEdit::default() };
    let last = NftEdit { family, remove_chains: edit.remove_chains, ..NftEdit::default() };
    let elements = elements_step(family, edit.remove, edit.add);
    nft_step(first).into_iter().chain(elements).chain(nft_step(last)).collect()
}

/// Whether the declared objects agree, so that an edit suffices.
fn same_frame(old: &NftTable, new: &NftTable) -> bool {
    let kinds = |t: &NftTable| t.maps.iter().map(|(name, map)| (name.clone(), map.kind)).collect::<Vec<_>>();
    old.counters == new.counters && kinds(old) == kinds(new)
}

fn edit(old: &NftTable, new: &NftTable) -> NftEdit {
    let changed = new.chains.iter().filter(|(name, chain)| old.chains.get(*name) != Some(chain));
    let gone = old.chains.keys().filter(|name| !new.chains.contains_key(*name));
    let (before, after) = (elements(old), elements(new));
    NftEdit {
        family: new.family,
        chains: changed.map(|(n, c)| (n.clone(), c.clone())).collect(),
        remove: before.difference(&after).cloned().collect(),
        add: after.difference(&before).cloned().collect(),
        remove_chains: gone.cloned().collect(),
    }
}

fn elements(table: &NftTable) -> BTreeSet<NftElement> {
    table.maps.iter().flat_map(|(name, map)| elements_of(name, map)).collect()
}

fn value<'a>(table: &'a NftTable, element: &NftElement) -> Option<&'a NftValue> {
    table.maps.get(&element.map)?.elements.get(&element.key)
}

/// Elements alone go by netlink; with chains they are one transaction of `nft`.
fn nft_step(edit: NftEdit) -> Option<Step> {
    if !edit.chains.is_empty() || !edit.remove_chains.is_empty() {
        return Some(Step::Nft(NftChange::Edit(edit)));
    }
    elements_step(edit.family, edit.remove, edit.add)
}

fn elements_step(family: TableFamily, remove: Vec<NftElement>, add: Vec<NftElement>) -> Option<Step> {
    (!remove.is_empty() || !add.is_empty()).then_some(Step::Elements { family, remove, add })
}

/// Flows whose path is gone, or whose pod's selection changed.
fn purge(observed: Option<&NftTable>, desired: &Desired) -> Option<Step> {
    let mask = desired.path_mask;
    let mut filters = Vec::new();
    if let Some(old) = observed {
        let (began, rebound) = rebound_paths(old, desired.state.nft.as_ref());
        let paths: BTreeSet<u32> = gone_paths(old, desired.state.nft.as_ref()).chain(rebound).collect();
        filters.extend(paths.into_iter().map(|value| ConntrackFilter::Mark { value, mask }));
        let addresses = |value: &u32| desired.addresses.get(value).cloned().unwrap_or_default();
        let unaddressed = |value: u32| ConntrackFilter::Unaddressed { value, mask, addresses: addresses(&value) };
        filters.extend(began.into_iter().map(unaddressed));
    }
    for address in reassigned(observed, desired) {
        let verdicts = desired.verdicts.get(&address).cloned().unwrap_or_default();
        filters.push(ConntrackFilter::Reassigned { address, mask, verdicts });
    }
    (!filters.is_empty()).then_some(Step::PurgeConntrack(filters))
}

/// What may have been misled while our table was away; to be forgotten until answers in flight have come.
#[must_use]
pub fn misled(desired: &Desired) -> Vec<ConntrackFilter> {
    let reversed = |(address, verdicts): (&IpAddr, &Verdicts)| ConntrackFilter::Reversed {
        address: *address,
        mask: desired.path_mask,
        verdicts: verdicts.clone(),
    };
    desired.verdicts.iter().map(reversed).collect()
}

fn gone_paths<'a>(old: &'a NftTable, new: Option<&'a NftTable>) -> impl Iterator<Item = u32> + 'a {
    let known = move |mark: &u32| {
        new.and_then(|t| t.maps.get("exit")).is_some_and(|m| m.elements.contains_key(&NftKey::Mark(*mark)))
    };
    let marks = old.maps.get("exit").into_iter().flat_map(|m| m.elements.keys());
    marks.filter_map(|key| if let NftKey::Mark(mark) = key { Some(*mark) } else { None }).filter(move |m| !known(m))
}

/// Paths that begin to leave with an address, and those that leave with another one than before or cease to leave with
/// one: rewriting is decided once per flow.
fn rebound_paths(old: &NftTable, new: Option<&NftTable>) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let bindings = |table: Option<&NftTable>| -> BTreeSet<NftElement> {
        let maps = table.into_iter().flat_map(|t| t.maps.iter());
        maps.filter(|(_, map)| matches!(map.kind, NftMapKind::MarkAddress(_)))
            .flat_map(|(n, m)| elements_of(n, m))
            .collect()
    };
    let mark = |e: &NftElement| if let NftKey::Mark(mark) = e.key { Some(mark) } else { None };
    let (before, after) = (bindings(Some(old)), bindings(new));
    let bound: BTreeSet<u32> = before.iter().filter_map(mark).collect();
    before.symmetric_difference(&after).filter_map(mark).partition(|mark| !bound.contains(mark))
}

/// Addresses whose outbound chain is another one than before.
fn reassigned(observed: Option<&NftTable>, desired: &Desired) -> BTreeSet<IpAddr> {
    let selection = |table: Option<&NftTable>| -> BTreeSet<NftElement> {
        let maps = table.into_iter().flat_map(|t| t.maps.iter());
        maps.filter(|(name, _)| ["sel4", "sel6"].contains(&name.as_str()))
            .flat_map(|(n, m)| elements_of(n, m))
            .collect()
    };
    let (before, after) = (selection(observed), selection(desired.state.nft.as_ref()));
    let address = |e: &NftElement| if let NftKey::Address(a) = e.key { Some(a) } else { None };
    before.symmetric_difference(&after).filter_map(address).collect()
}
