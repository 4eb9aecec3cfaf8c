//! What pods notice when the owner of their address goes away.
//!
//! Guarantees: every run has a cluster of its own; pods of the nodes that stay send all the time, and the far end and the
//! switch between the nodes are the witnesses. Leaves out: judging; nothing is asserted.

mod harm;
mod report;
mod run;

use std::process::ExitCode;

use anyhow::{Context, Result};
use sortie_tests::benchmark::{Benchmark, say};

use crate::harm::Harm;
use crate::report::Row;

/// Runs of each kind without `--runs`.
const RUNS: usize = 10;

fn main() -> ExitCode {
    Benchmark { name: "bench-takeover", flag: "--runs", repetitions: RUNS }.main(table)
}

fn table(runs: usize) -> Result<String> {
    let mut rows: Vec<Row> = Harm::ALL.into_iter().map(Row::new).collect();
    for round in 1..=runs {
        say(&format!("    round {round} of {runs}"));
        for row in &mut rows {
            row.add(run::once(row.harm).with_context(|| row.harm.name())?);
        }
    }
    Ok(report::table(&rows, runs))
}
