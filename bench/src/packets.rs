//! What a forwarded packet costs on a node, with ours and with what one would use instead.
//!
//! Guarantees: every subject has a node of its own, all of them stand beside each other, and rounds go over all of them in
//! an order that rotates; one processor sends and forwards; what does not arrive is counted. Leaves out: judging; nothing
//! is asserted.

mod alternatives;
mod frames;
mod measure;
mod parts;
mod pods;
mod product;
mod proxy;
mod rows;
mod sink;
mod site;
mod subject;

use anyhow::{Context as _, Result};

use crate::report::Report;
use crate::say;

use self::measure::Measured;
use self::subject::{Subject, Way};

/// The section.
pub(crate) fn run(rounds: usize) -> Result<Report> {
    let proxy = proxy::rules().context("kube-proxy's rules")?;
    let mut subjects = Vec::new();
    for way in Way::all() {
        say(&format!("    {way:?}"));
        subjects.push(Subject::new(way, &proxy).with_context(|| format!("{way:?}"))?);
    }
    let mut all: Vec<Measured> = subjects.iter().map(|subject| Measured::new(subject.way)).collect();
    for round in 0..rounds {
        say(&format!("    round {} of {rounds}", round + 1));
        for turn in 0..subjects.len() {
            let index = (round + turn) % subjects.len();
            all[index].measure(&subjects[index])?;
        }
    }
    Ok(rows::report(&all))
}
