//! What pods and their clients notice when the owner of an address goes away.
//!
//! Guarantees: a strike begins when everybody agrees and is served; pods of the nodes that stay send all the time, and
//! the far end and the switch between the nodes are the witnesses. All kinds of harm take turns. Leaves out: judging;
//! nothing is asserted.

mod harm;
mod inbound;
mod numbers;
mod rows;
mod run;
mod stage;

use anyhow::{Context, Result};

use crate::report::Report;
use crate::say;

use self::harm::Harm;
use self::rows::Row;
use self::stage::{Replication, Stage};

/// What is struck where connections are not replicated.
const UNREPLICATED: [Harm; 2] = [Harm::Dead, Harm::Planned];

/// The section.
pub(crate) fn run(rounds: usize) -> Result<Report> {
    let mut stages = [Stage::new(Replication::On)?, Stage::new(Replication::Off)?];
    let replicated = Harm::ALL.into_iter().map(|harm| Row::new(harm, Replication::On));
    let mut rows: Vec<Row> =
        replicated.chain(UNREPLICATED.into_iter().map(|harm| Row::new(harm, Replication::Off))).collect();
    for round in 1..=rounds {
        say(&format!("    round {round} of {rounds}"));
        for row in rows.iter_mut().filter(|row| row.has_turn(round)) {
            let stage = &mut stages[usize::from(row.replication == Replication::Off)];
            turn(stage, row).with_context(|| row.name())?;
        }
    }
    Ok(rows::report(&rows))
}

/// One run. A cluster whose run failed is of no use any more.
fn turn(stage: &mut Stage, row: &mut Row) -> Result<()> {
    let outcome = run::once(stage, row.harm).or_else(|error| {
        say(&format!("    failed: {}: {error:#}", row.name()));
        row.failed += 1;
        *stage = Stage::new(row.replication)?;
        run::once(stage, row.harm)
    });
    row.add(outcome?);
    Ok(())
}
