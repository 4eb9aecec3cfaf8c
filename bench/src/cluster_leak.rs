//! What pods of a real cluster that send from their first instruction let out the wrong way, beside kube-vip.
//!
//! Guarantees: pods are started by real kubelets, one of each Service at a time, as kube-vip gives an address to one pod
//! of a Service; turns of both products alternate on one cluster, with the same pods on the same nodes. Leaves out:
//! judging; nothing is asserted.

mod rows;
mod turn;

use anyhow::Result;

use crate::cluster::{Lease, Stage, Subject, Wire};
use crate::report::Report;
use crate::say;

use self::turn::Side;

/// Who takes turns.
const SUBJECTS: [Subject; 2] = [Subject::Sortie, Subject::KubeVip(Lease::Usual)];

/// The section: so many starts of a pod of each Service.
pub(crate) fn run(rounds: usize) -> Result<Report> {
    let stage = Stage::new()?;
    let mut sides =
        stage.present(&SUBJECTS).into_iter().map(|subject| Side::new(&stage, subject)).collect::<Result<Vec<_>>>()?;
    let wire = Wire::new(&stage.cluster.site.switch)?;
    // The first turn of each is for whatever happens once.
    for round in 0..=rounds {
        say(&format!("    starts of pods, round {round} of {rounds}"));
        for side in &mut sides {
            let lives = side.turn((&stage, &wire), round)?;
            if round > 0 {
                side.lives.extend(lives);
            }
        }
    }
    let report = rows::report(&sides, &stage.other());
    sides.into_iter().try_for_each(|side| side.end(&stage))?;
    Ok(report)
}
