//! How long a pod's start takes, as a kubelet sees it: from the request to containerd to its answer.
//!
//! Guarantees: two nodes with containerd stand side by side, one whose chain ends with the plugins of the CNI project and
//! one whose chain ends with ours; the ways to start pods take turns in an order that rotates. Leaves out: images, which
//! are there, and containers, which come after the sandbox.

mod nodes;
mod rows;

use anyhow::{Context, Result};
use sortie_testkit::{Helper, Lab, manifest};

use crate::report::Report;
use crate::say;

use self::nodes::{Way, chain, containerd};
use self::rows::Series;

/// Pods at once.
const CROWDS: [usize; 3] = [1, 50, 200];

/// The section; a round has several crowds of one pod, one of 50 and, each few rounds, one of 200.
pub(crate) fn run(rounds: usize) -> Result<Report> {
    let (plain, ours) = (Lab::new()?, Lab::new()?);
    ours.manifest("node.yaml", &manifest::all(&[manifest::node(), manifest::route("b")]))?;
    let _helper = Helper::start(&ours, &["--log-level", "warn"])?;
    chain(&plain, Way::Without)?;
    chain(&ours, Way::Selected)?;
    let nodes = [containerd(&plain)?, containerd(&ours)?];
    let mut series = Series::default();
    for round in 0..rounds {
        for crowd in CROWDS {
            say(&format!("    round {} of {rounds}, {crowd} at once", round + 1));
            for turn in 0..repetitions(crowd, round) * Way::ALL.len() {
                let way = Way::ALL[(round + turn + turn / Way::ALL.len()) % Way::ALL.len()];
                let name = |pod| format!("{}-{crowd}-{round}-{turn}-{pod}", way.label());
                let names: Vec<String> = (0..crowd).map(name).collect();
                let taken = way.start(&nodes, &names).with_context(|| nodes[way.node()].log())?;
                series.add(way, crowd, taken);
            }
        }
    }
    Ok(rows::report(&series, &CROWDS))
}

/// How often a crowd is started in a round.
fn repetitions(crowd: usize, round: usize) -> usize {
    match crowd {
        1 => 16,
        200.. => usize::from(round.is_multiple_of(3)),
        _ => 1,
    }
}
