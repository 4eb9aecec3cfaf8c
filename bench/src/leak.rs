//! What a pod that sends from its first instant lets out the wrong way.
//!
//! Guarantees: every pod is attached by the real chain of CNI plugins and sends from the moment the chain is done, when a
//! runtime would start its first program; what is counted is what routers see. Pods of all subjects take turns, some at
//! once. Leaves out: judging; nothing is asserted.

mod pod;
mod rows;
mod subject;
mod witness;

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow};
use sortie_testkit::{Helper, Lab, Main, Network, manifest};

use crate::report::Report;
use crate::say;

use self::pod::{Life, Stage};
use self::subject::Subject;
use self::witness::Witness;

/// Pods that live at once.
const AT_ONCE: usize = 4;
/// Pods between two lines of progress.
const PROGRESS: usize = 200;

/// The section: so many pods of each subject.
pub(crate) fn run(rounds: usize) -> Result<Report> {
    let lab = Lab::new()?;
    lab.manifest("node.yaml", &manifest::all(&[manifest::node(), manifest::route("b")]))?;
    let _helper = Helper::start(&lab, &["--log-level", "warn"])?;
    let network = Network::new(&lab, Main::Bridge)?.write()?;
    subject::prepare(&lab)?;
    let witness = Witness::start(&lab)?;
    let lives = all((&lab, &network, &witness), rounds * Subject::ALL.len())?;
    Ok(rows::report(&lives, &witness.tallies()?))
}

/// The lives of so many pods.
fn all(stage: Stage<'_>, count: usize) -> Result<Vec<Life>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<Life>> {
        let mut lives = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(lives);
            }
            if number.is_multiple_of(PROGRESS) {
                say(&format!("    pod {number} of {count}"));
            }
            lives.push(pod::live(stage, number).with_context(|| format!("pod {number}"))?);
        }
    };
    let lives = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let ends = workers.into_iter().map(|one| one.join().map_err(|_| anyhow!("a worker has failed"))?);
        ends.collect::<Result<Vec<_>>>()
    })?;
    Ok(lives.into_iter().flatten().collect())
}
