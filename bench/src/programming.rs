//! How long it takes from a change to the last kernel object that follows from it.
//!
//! Guarantees: the helper runs as on a node; the kernel's own notifications say when its last object changed, and `ip` and
//! `nft` that nothing is missing; after each change as many objects of the same kinds are loaded by `nft` and `ip` alone.
//! Leaves out: judging; nothing is asserted.

mod cases;
mod changes;
mod objects;
mod peer;
mod pods;
mod rows;
mod source;
mod stage;
mod witness;

use std::time::Duration;

use anyhow::{Context, Result};
use sortie_testkit::{Lab, until};

use crate::report::Report;
use crate::say;

use self::cases::{Case, owns, selects};
use self::objects::Variant;
use self::pods::Template;
use self::rows::Series;
use self::source::Origin;
use self::stage::Stage;

/// Pods on the node.
const PODS: [usize; 4] = [1, 100, 250, 10_000];
/// Services with an address.
const SERVICES: [usize; 2] = [1, 1000];
/// How long a stage may take to be set.
const PREPARED: Duration = Duration::from_secs(120);

/// The section.
pub(crate) fn run(rounds: usize) -> Result<Report> {
    let (template, mut series) = (Template::new()?, Series::default());
    of_pods(
        &template,
        (Origin::Folder, &[Case::Route, Case::Policy, Case::Resync, Case::Boot, Case::Restart]),
        (rounds, &mut series),
    )?;
    of_pods(&template, (Origin::Api, &[Case::Route, Case::Policy]), (rounds, &mut series))?;
    of_services((Origin::Folder, &[Case::Addresses, Case::Owner]), (rounds, &mut series))?;
    of_services((Origin::Api, &[Case::Owner]), (rounds, &mut series))?;
    Ok(rows::report(&series))
}

/// Where objects come from, and what is done with them.
type Task = (Origin, &'static [Case]);

fn of_pods(template: &Template, (origin, cases): Task, (rounds, series): (usize, &mut Series)) -> Result<()> {
    let lab = Lab::new()?;
    let mut stage = Stage::new(&lab, origin.open(&lab)?)?;
    stage.source.create(&objects::route(Variant::First))?;
    stage.source.create(&objects::policy(Variant::First))?;
    let mut there = 0;
    for count in PODS {
        stage.helper.kill9()?;
        template.write(&lab, there..count)?;
        there = count;
        stage.helper.restart()?;
        until(PREPARED, "all pods to be selected", || selects(&lab, count, Variant::First).is_ok_and(|yes| yes))?;
        perform(&mut stage, (cases, count), (rounds, series))?;
    }
    Ok(())
}

fn of_services((origin, cases): Task, (rounds, series): (usize, &mut Series)) -> Result<()> {
    for count in SERVICES {
        let lab = Lab::new()?;
        let mut stage = Stage::new(&lab, origin.open(&lab)?)?;
        stage.source.create(&objects::route(Variant::First))?;
        stage.source.create(&objects::pool(Variant::First))?;
        stage.source.create_all("services.yaml", &objects::services(count, Variant::First))?;
        until(PREPARED, "all addresses to be owned", || owns(&lab, count).is_ok_and(|yes| yes))
            .with_context(|| stage.helper.log())?;
        perform(&mut stage, (cases, count), (rounds, series))?;
    }
    Ok(())
}

/// An even number of edits, so that everything is as before.
fn perform(
    stage: &mut Stage<'_>,
    (cases, count): (&[Case], usize),
    (rounds, series): (usize, &mut Series),
) -> Result<()> {
    let source = stage.source.name();
    say(&format!("    {source}, {count}"));
    for _ in 0..rounds {
        for case in cases {
            for variant in [Variant::First, Variant::Second] {
                let outcome =
                    case.run(stage, (count, variant)).with_context(|| format!("{source}, {}, {count}", case.name()))?;
                series.add((source, *case, count), outcome);
            }
        }
    }
    Ok(())
}
