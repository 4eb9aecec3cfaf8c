//! How long an address of a Service is gone when the node that has it loses its power, beside kube-vip.
//!
//! Guarantees: pods on every node send and answer in the same way for everybody; the owner is the node that the switch
//! sees sending with the address, and its links and all its processes end at once. Subjects take turns on one cluster.
//! Leaves out: judging; nothing is asserted.

mod calls;
mod rows;
mod turn;
mod watch;

use std::net::IpAddr;

use anyhow::Result;

use crate::cluster::{Lease, Stage, Subject, Wire, Wish, daemon_set};
use crate::report::Report;
use crate::say;

use self::turn::Outcome;

/// Who takes turns.
const SUBJECTS: [Subject; 3] = [Subject::Sortie, Subject::KubeVip(Lease::Usual), Subject::KubeVip(Lease::Short)];

/// A subject, the address of its Service, and what became of it.
struct Row {
    subject: Subject,
    address: IpAddr,
    outcomes: Vec<Outcome>,
    /// Starts after which there was no owner.
    idle: usize,
}

/// The section: the power of each subject's owner is cut so many times.
pub(crate) fn run(rounds: usize) -> Result<Report> {
    let mut stage = Stage::new()?;
    let mut rows =
        stage.present(&SUBJECTS).into_iter().map(|subject| row(&stage, subject)).collect::<Result<Vec<_>>>()?;
    let wire = Wire::new(&stage.cluster.site.switch)?;
    for round in 1..=rounds {
        for row in &mut rows {
            match turn::once((&mut stage, &wire), (row.subject, row.address))? {
                Some(outcome) => {
                    say(&format!("    {}, round {round} of {rounds}: {outcome}", row.subject.name()));
                    row.outcomes.push(outcome);
                }
                None => row.idle += 1,
            }
        }
    }
    Ok(rows::report(&rows, &stage.other()))
}

fn row(stage: &Stage, subject: Subject) -> Result<Row> {
    let app = subject.app();
    let address = stage.serve(Wish { subject, app, number: 0 })?;
    stage.kubectl.apply(&daemon_set(app).to_string())?;
    stage.cluster.rolled_out(&[&format!("daemonset/{app}")])?;
    Ok(Row { subject, address, outcomes: Vec::new(), idle: 0 })
}
