//! What a pod's connection gets through and how long an answer takes, by the several ways out.
//!
//! Guarantees: all ways are in the same topology and are measured in turns, with offloads and without in a cluster each;
//! every connection is seen to come from the address it should. Leaves out: judging; nothing is asserted.

mod measure;
mod rows;
mod stage;

use anyhow::{Context as _, Result};

use crate::report::Report;
use crate::say;

use self::rows::Row;
use self::stage::{Offloads, Stage, Way};

/// The section.
pub(crate) fn run(rounds: usize) -> Result<Report> {
    let stages = [Stage::new(Offloads::On)?, Stage::new(Offloads::Off)?];
    let each = stages.iter().flat_map(|stage| Way::ALL.map(|way| (stage, way)));
    let mut all: Vec<(&Stage, Row)> = each.map(|(stage, way)| (stage, Row::new(way, stage.offloads))).collect();
    for round in 0..rounds {
        say(&format!("    round {} of {rounds}", round + 1));
        for turn in 0..all.len() {
            let index = (round + turn) % all.len();
            let (stage, row) = &mut all[index];
            row.measure(stage).with_context(|| format!("{:?}, offloads {:?}", row.way, row.offloads))?;
        }
    }
    let rows: Vec<Row> = all.into_iter().map(|(_, row)| row).collect();
    Ok(rows::report(&rows))
}
