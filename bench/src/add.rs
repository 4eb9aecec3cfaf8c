//! What ADD costs: our plugin against the reference plugins `sbr` and `portmap`.
//!
//! Guarantees: every plugin is called in the node's namespace right after `bridge` made the pod's interface, with its
//! result, in turns whose order rotates, so that a noisy machine is noisy for all. Leaves out: judging; nothing is
//! asserted.

mod measure;
mod rows;
mod subjects;

use std::time::Duration;

use anyhow::Result;
use sortie_testkit::{Helper, Lab, manifest};

use crate::report::Report;
use crate::say;

use self::rows::Row;
use self::subjects::{Bridge, Subject};

/// Runs of each plugin for its memory.
const MEMORY_ROUNDS: usize = 5;
/// Rounds between two lines of progress.
const PROGRESS: usize = 20;
/// After a pod is gone: nobody tidies up after it any more when the next one comes.
const QUIET: Duration = Duration::from_millis(60);

/// The section.
pub(crate) fn run(rounds: usize) -> Result<Report> {
    Ok(rows::report(&measure(rounds)?))
}

fn measure(rounds: usize) -> Result<Vec<Row>> {
    let lab = Lab::new()?;
    lab.manifest("node.yaml", &manifest::all(&[manifest::node(), manifest::route("b")]))?;
    let _helper = Helper::start(&lab, &["--log-level", "warn"])?;
    let bridge = Bridge::new(&lab)?;
    lab.node.with(|| {
        // As on a node in use: the tables, and the chain for these wishes, are there.
        let neighbour = bridge.pod("neighbour".to_owned(), 0)?;
        Subject::Selected.call(&bridge, &neighbour)?.run("ADD")?;
        let mut series = Series::new();
        for round in 0..MEMORY_ROUNDS + rounds {
            if round % PROGRESS == 0 {
                say(&format!("    round {round} of {}", MEMORY_ROUNDS + rounds));
            }
            for turn in 0..Subject::ALL.len() {
                series.measure(&bridge, round, (round + turn) % Subject::ALL.len())?;
            }
        }
        Ok(series.rows())
    })
}

/// What was measured so far, in the order of [`Subject::ALL`].
struct Series {
    times: Vec<Vec<Duration>>,
    peaks: Vec<u64>,
}

impl Series {
    fn new() -> Self {
        Self { times: vec![Vec::new(); Subject::ALL.len()], peaks: vec![0; Subject::ALL.len()] }
    }

    /// One pod from its first to its last moment; our call follows `bridge`'s at once, as in a chain.
    fn measure(&mut self, bridge: &Bridge<'_>, round: usize, index: usize) -> Result<()> {
        let pod = bridge.pod(format!("{round}-{index}"), round)?;
        let call = Subject::ALL[index].call(bridge, &pod)?;
        if round < MEMORY_ROUNDS {
            self.peaks[index] = call.memory("ADD")?.max(self.peaks[index]);
        } else {
            self.times[index].push(call.run("ADD")?.1);
        }
        call.run("DEL")?;
        bridge.remove(&pod)?;
        std::thread::sleep(QUIET);
        Ok(())
    }

    fn rows(&self) -> Vec<Row> {
        let all = Subject::ALL.into_iter().zip(self.times.iter().zip(&self.peaks));
        all.map(|(subject, (series, peak))| Row::new(subject, series, *peak)).collect()
    }
}
