//! Laws of ownership under a deterministic simulation of clusters that fail in every way.
//!
//! `SORTIE_SEEDS` = how many seeds to run (100 000 by default); `SORTIE_SEED` = one seed to replay with its
//! history.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where its assumption does")]
#![allow(clippy::print_stdout, reason = "a failing seed shows its history")]

mod faults;
mod laws;
mod node;
mod rng;
mod scenes;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use node::Node;
use rng::Rng;
use sortie_core::ownership::{Config, Identity, NodeNumber};
use world::World;

/// Simulated milliseconds in which faults strike, and afterwards.
const STORM: u64 = 2600;
const AFTER: u64 = 2300;

#[expect(clippy::disallowed_methods, reason = "which seeds to run is the caller's choice")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn cluster(seed: u64) -> World {
    let mut rng = Rng(seed);
    let count = rng.between(1, 5) as u16;
    let nodes: Vec<Node> = (1..=count).map(|n| Node::new(NodeNumber(n), rng.between(970, 1030))).collect();
    let all: BTreeSet<NodeNumber> = (1..=count).map(NodeNumber).collect();
    let mut configs = BTreeMap::new();
    let identities = if rng.percent(25) { 2 } else { 1 };
    for name in 0..identities {
        let mut candidates = all.clone();
        if rng.percent(30) && count > 1 {
            candidates.remove(&NodeNumber(rng.between(1, u64::from(count)) as u16));
        }
        configs.insert(Identity(format!("service/a/{seed}-{name}")), Config { candidates });
    }
    World::new(rng, nodes, configs)
}

fn run(seed: u64, history: Option<Vec<String>>) -> (World, Result<(), String>) {
    let mut world = cluster(seed);
    world.history = history;
    faults::plan(&mut world, STORM);
    let result = world.run(STORM + AFTER);
    (world, result)
}

fn replay(seed: u64) {
    let (world, result) = run(seed, Some(Vec::new()));
    println!("{}", world.history.unwrap_or_default().join("\n"));
    println!("{:?}", world.configs);
    result.unwrap_or_else(|law| panic!("seed {seed}: {law}"));
}

fn run_all(first: u64) {
    if let Some(seed) = number("SORTIE_SEED") {
        return replay(seed);
    }
    let mut longest = [0; 6];
    for seed in (first..number("SORTIE_SEEDS").unwrap_or(100_000)).step_by(2) {
        let (world, result) = run(seed, None);
        if result.is_err() {
            replay(seed);
        }
        for (count, gap) in world.laws.longest.iter().enumerate() {
            longest[count] = gap.max(&longest[count]).to_owned();
        }
    }
    println!("longest without a sender, by candidates: {longest:?}");
}

#[test]
fn even_seeds_keep_the_laws() {
    run_all(0);
}

#[test]
fn odd_seeds_keep_the_laws() {
    run_all(1);
}
