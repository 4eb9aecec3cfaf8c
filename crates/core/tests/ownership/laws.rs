//! The laws, checked after every event.

use std::collections::BTreeSet;

use sortie_core::ownership::{Config, Consent, Identity, NodeNumber};

use super::faults::Fault;
use super::node::{Life, Node};
use super::world::{Link, World};

/// Milliseconds without a new fault after which there is exactly one owner.
pub(crate) const BOUND: u64 = 2000;

/// What the laws remember.
pub(crate) struct Laws {
    /// When anything changed last but by plan.
    calm_since: u64,
    claims: Vec<(usize, Identity)>,
    gap_since: Vec<Option<u64>>,
    /// Longest time without a sender that no later fault prolonged, by number of candidates.
    pub(crate) longest: [u64; 6],
    /// Of all claims.
    pub(crate) consents: BTreeSet<Consent>,
}

impl Laws {
    pub(crate) fn new(identities: usize) -> Self {
        Self {
            calm_since: 0,
            claims: Vec::new(),
            gap_since: vec![None; identities],
            longest: [0; 6],
            consents: BTreeSet::new(),
        }
    }

    pub(crate) fn claimed(&mut self, node: usize, identity: &Identity, consent: Consent) {
        self.consents.insert(consent);
        self.claims.push((node, identity.clone()));
    }
}

/// Notes a fault.
pub(crate) fn disturbed(world: &mut World, fault: Fault) {
    let now = world.now;
    let whole = world.links.iter().flatten().all(Link::is_whole);
    let by_plan = matches!(fault, Fault::Leave(_)) && whole && now >= world.laws.calm_since + BOUND;
    if !by_plan {
        world.laws.calm_since = now;
    }
}

pub(crate) fn check(world: &mut World, node: usize) -> Result<(), String> {
    let configs = std::mem::take(&mut world.configs);
    let mut result = epochs(world, node, &configs);
    for (index, (identity, config)) in configs.iter().enumerate() {
        result = result.and_then(|()| one(world, index, (identity, config)));
    }
    world.configs = configs;
    world.laws.claims.clear();
    result
}

fn one(world: &mut World, index: usize, unit: (&Identity, &Config)) -> Result<(), String> {
    let (identity, config) = unit;
    let count = config.candidates.len();
    let may = |node: &&Node| node.may_send(identity, count, world.now);
    let senders: Vec<&Node> = world.nodes.iter().filter(may).collect();
    single(&senders, identity)?;
    sticky(world, unit)?;
    let any = !senders.is_empty();
    if any {
        end_gap(world, index, count);
        return Ok(());
    }
    if !stable_majority(world, config) {
        world.laws.gap_since[index] = None;
        return Ok(());
    }
    world.laws.gap_since[index].get_or_insert(world.now);
    if world.now >= world.laws.calm_since + BOUND { Err(format!("nobody owns {identity}")) } else { Ok(()) }
}

/// Law 1: never two senders, but where one hands over to the other.
fn single(senders: &[&Node], identity: &Identity) -> Result<(), String> {
    let agreed = |one: &Node, other: &Node| one.handed.get(identity).is_some_and(|to| to.contains(&other.number));
    for (index, one) in senders.iter().enumerate() {
        for other in &senders[index + 1..] {
            if !agreed(one, other) && !agreed(other, one) {
                return Err(format!("{:?} and {:?} both send with {identity}", one.number, other.number));
            }
        }
    }
    Ok(())
}

/// Law 3: in calm times nobody claims what is not handed to it, unless nobody had it.
fn sticky(world: &World, (identity, config): (&Identity, &Config)) -> Result<(), String> {
    let claims = world.laws.claims.iter().filter(|(_, claimed)| claimed == identity);
    for (node, _) in claims {
        let number = world.nodes[*node].number;
        let handed = world.nodes.iter().any(|other| other.handed.get(identity).is_some_and(|to| to.contains(&number)));
        let calm = world.now >= world.laws.calm_since + BOUND;
        if calm && !handed && stable_majority(world, config) {
            return Err(format!("{number:?} claims {identity} without need"));
        }
    }
    Ok(())
}

/// Law 5: the owner's epoch never falls in anybody's view.
fn epochs(
    world: &mut World,
    node: usize,
    configs: &std::collections::BTreeMap<Identity, Config>,
) -> Result<(), String> {
    let node = &mut world.nodes[node];
    if node.life != Life::Runs {
        return Ok(());
    }
    for identity in configs.keys() {
        let Some((_, epoch)) = node.machine.owner_of(identity) else { continue };
        let before = node.epochs.insert(identity.clone(), epoch).unwrap_or(0);
        if epoch < before {
            return Err(format!("{:?} saw epoch {before} of {identity}, then {epoch}", node.number));
        }
    }
    Ok(())
}

/// Whether enough candidates could own and hear each other both ways; of two the one that reaches the next hop.
fn stable_majority(world: &World, config: &Config) -> bool {
    let candidates: Vec<usize> = config.candidates.iter().map(|NodeNumber(n)| usize::from(*n) - 1).collect();
    let able: Vec<usize> = candidates.iter().copied().filter(|node| world.nodes[*node].is_able()).collect();
    let whole = |from: usize, to: usize| from == to || world.links[from][to].is_whole();
    let clear = |node: usize| {
        let company = able.iter().filter(|peer| whole(node, **peer) && whole(**peer, node)).count();
        company == able.len()
    };
    let needed = if candidates.len() == 2 { 1 } else { candidates.len() / 2 + 1 };
    let leaves = candidates.iter().any(|node| world.nodes[*node].leaving);
    let hung = candidates.iter().any(|node| world.nodes[*node].leaving && world.nodes[*node].life == Life::Paused);
    let lossy = world.links.iter().flatten().any(|link| !link.is_whole());
    let connected = if candidates.len() == 2 { !(leaves && lossy) } else { able.iter().all(|node| clear(*node)) };
    !hung && able.len() >= needed && connected
}

fn end_gap(world: &mut World, index: usize, count: usize) {
    let (now, laws) = (world.now, &mut world.laws);
    let Some(since) = laws.gap_since[index].take() else { return };
    laws.longest[count] = laws.longest[count].max(now - since.max(laws.calm_since));
}
