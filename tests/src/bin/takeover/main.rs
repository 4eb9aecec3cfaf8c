//! What pods notice when the owner of their address goes away.
//!
//! Guarantees: every run has a cluster of its own; pods of the nodes that stay send all the time, and the far end and the
//! switch between the nodes are the witnesses. Leaves out: judging; nothing is asserted.

mod harm;
mod report;
mod run;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result};
use sortie_testkit::programs;
use sortie_tests::document;

use crate::harm::Harm;
use crate::report::Row;

/// Runs of each kind without `--runs`.
const RUNS: usize = 10;

/// Writes one line; a closed output is no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn main() -> ExitCode {
    match perform() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn perform() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut runs = RUNS;
    if let Some(at) = arguments.iter().position(|argument| argument == "--runs") {
        let text = arguments.get(at + 1).context("--runs needs a number")?;
        runs = text.parse().with_context(|| format!("--runs: {text:?} is no number"))?;
    }
    let mut rows: Vec<Row> = Harm::ALL.into_iter().map(Row::new).collect();
    for round in 1..=runs {
        say(&format!("    round {round} of {runs}"));
        for row in &mut rows {
            row.add(run::once(row.harm).with_context(|| row.harm.name())?);
        }
    }
    let table = report::table(&rows, runs);
    say(&format!("\n{table}"));
    if arguments.iter().any(|argument| argument == "--write") {
        let file = programs::workspace().join("docs/performance.md");
        document::write(&file, "bench-takeover", &table)?;
        say(&format!("written to {}", file.display()));
    }
    Ok(())
}
