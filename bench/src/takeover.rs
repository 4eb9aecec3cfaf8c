//! What pods notice when the owner of their address goes away.
//!
//! Guarantees: every run has a cluster of its own; pods of the nodes that stay send all the time, and the far end and the
//! switch between the nodes are the witnesses. Leaves out: judging; nothing is asserted.

mod harm;
mod rows;
mod run;

use anyhow::{Context, Result};

use crate::report::Report;
use crate::say;

use self::harm::Harm;
use self::rows::Row;

/// The section.
pub(crate) fn run(rounds: usize) -> Result<Report> {
    let mut rows: Vec<Row> = Harm::ALL.into_iter().map(Row::new).collect();
    for round in 1..=rounds {
        say(&format!("    round {round} of {rounds}"));
        for row in &mut rows {
            row.add(run::once(row.harm).with_context(|| row.harm.name())?);
        }
    }
    Ok(rows::report(&rows))
}
