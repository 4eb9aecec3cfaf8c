//! What ADD and DEL cost: our plugin against the reference plugins `sbr`, `portmap` and `tuning`.
//!
//! Guarantees: every plugin is called in the node's namespace right after `bridge` made the pod's interface, with its
//! result, in turns whose order rotates, so that a noisy machine is noisy for all. Leaves out: judging; nothing is
//! asserted.

mod down;
mod measure;
mod rows;
mod series;
mod subjects;

use std::time::Duration;

use anyhow::Result;
use sortie_testkit::{Helper, Lab, manifest};

use crate::report::Report;
use crate::say;

use self::measure::Verb;
use self::series::{Daemon, Series};
use self::subjects::{Bridge, Subject};

/// Runs of each plugin for its memory.
const MEMORY_ROUNDS: usize = 5;
/// Rounds between two lines of progress.
const PROGRESS: usize = 20;
/// After a pod is gone: nobody tidies up after it any more when the next one comes.
const QUIET: Duration = Duration::from_millis(60);
/// Rounds with the helper for each time it is killed.
const ROUNDS_A_KILL: usize = 15;

/// The section.
pub(crate) fn run(rounds: usize) -> Result<Report> {
    let lab = Lab::new()?;
    lab.manifest("node.yaml", &manifest::all(&[manifest::node(), manifest::route("b")]))?;
    let mut helper = Helper::start(&lab, &["--log-level", "warn"])?;
    let (bridge, mut series) = (Bridge::new(&lab)?, Series::default());
    lab.node.with(|| with_helper(&bridge, rounds, &mut series))?;
    let kills = rounds.div_ceil(ROUNDS_A_KILL);
    for kill in 1..=kills {
        say(&format!("    without the helper, {kill} of {kills}"));
        down::measure(&lab, &mut helper, (&bridge, &mut series))?;
    }
    Ok(rows::report(&series))
}

fn with_helper(bridge: &Bridge<'_>, rounds: usize, series: &mut Series) -> Result<()> {
    // As on a node in use: the tables, and the chain for these wishes, are there.
    let neighbour = bridge.pod("neighbour".to_owned(), 0)?;
    let call = Subject::Selected.call(bridge, &neighbour)?;
    call.run(Verb::Add)?;
    for round in 0..MEMORY_ROUNDS + rounds {
        if round % PROGRESS == 0 {
            say(&format!("    round {round} of {}", MEMORY_ROUNDS + rounds));
        }
        for turn in 0..Subject::ALL.len() {
            life(bridge, (round, Subject::ALL[(round + turn) % Subject::ALL.len()]), series)?;
        }
    }
    call.run(Verb::Del)?;
    bridge.remove(&neighbour)
}

/// One pod from its first to its last moment; our call follows `bridge`'s at once, as in a chain.
fn life(bridge: &Bridge<'_>, (round, subject): (usize, Subject), series: &mut Series) -> Result<()> {
    let pod = bridge.pod(format!("{round}"), round)?;
    let call = subject.call(bridge, &pod)?;
    for verb in [Verb::Add, Verb::Del] {
        if round < MEMORY_ROUNDS {
            series.held((Daemon::Up, verb), subject, call.memory(verb)?);
        } else {
            series.took((Daemon::Up, verb), subject, call.run(verb)?.1);
        }
    }
    bridge.remove(&pod)?;
    std::thread::sleep(QUIET);
    Ok(())
}
