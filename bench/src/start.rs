//! How long a pod's start takes, as a kubelet sees it: from the request to containerd to its answer.
//!
//! Guarantees: nodes with containerd stand side by side, one whose chain ends with the plugins of the CNI project and
//! two whose chain ends with ours, each with a pod that stays; the ways to start pods take turns in an order that
//! rotates. Leaves out: images, which are there, and containers, which come after the sandbox.

mod nodes;
mod rows;

use anyhow::{Context, Result};
use sortie_testkit::{Helper, Lab, manifest};

use crate::report::Report;
use crate::say;

use self::nodes::{Way, chain, containerd, stand};
use self::rows::Series;

/// Pods at once.
const CROWDS: [usize; 3] = [1, 50, 200];

/// The section; a round has several crowds of one pod, one of 50 and, each few rounds, one of 200.
pub(crate) fn run(rounds: usize) -> Result<Report> {
    let labs = [Lab::new()?, Lab::new()?, Lab::new()?];
    let [plain, ours, fresh] = &labs;
    chain(plain, Way::Without)?;
    let mut helpers = Vec::new();
    for lab in [ours, fresh] {
        lab.manifest("node.yaml", &manifest::all(&[manifest::node(), manifest::route("b")]))?;
        helpers.push(Helper::start(lab, &["--log-level", "warn"])?);
        chain(lab, Way::Selected)?;
    }
    let nodes = [containerd(plain)?, containerd(ours)?, containerd(fresh)?];
    for (node, way) in nodes.iter().zip([Way::Without, Way::Selected, Way::Unselected]) {
        stand(node, way)?;
    }
    let mut series = Series::default();
    for round in 0..rounds {
        for crowd in CROWDS {
            say(&format!("    round {} of {rounds}, {crowd} at once", round + 1));
            let ways: Vec<Way> = Way::ALL.into_iter().filter(|way| way.takes(crowd)).collect();
            for turn in 0..repetitions(crowd, round) * ways.len() {
                let way = ways[(round + turn + turn / ways.len()) % ways.len()];
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
