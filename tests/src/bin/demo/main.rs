//! The main job, live: pods behind a real CNI chain, three routers and a server.
//!
//! Guarantees: what is printed as seen was seen by the server, packet by packet; the exit status is zero only if every
//! flow took its way in every scene and nothing leaked. Leaves out: anything outside its own network namespaces.

mod cast;
mod election;
mod scene;
mod stage;
mod verdict;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use sortie_testkit::Lab;
use sortie_testkit::lab::{DEVICES, GATEWAY4, GATEWAY6, ROUTERS};

use crate::scene::Play;

/// What the routers are for.
const NEXT_HOPS: [(&str, &str); 3] =
    [("a", "the default route"), ("b", "route signalling"), ("c", "route billing, at first")];

/// Writes one line; a closed output is no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn main() -> ExitCode {
    match perform() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was as expected.
fn perform() -> Result<bool> {
    say("==> a node with three uplinks, a server behind all of them, the helper with two routes");
    for (name, role) in NEXT_HOPS {
        let index = ROUTERS.iter().position(|router| *router == name).unwrap_or(0);
        let (gateway4, gateway6, device) = (GATEWAY4[index], GATEWAY6[index], DEVICES[index]);
        say(&format!("    next hop {name}: {gateway4} and {gateway6} dev {device}, {role}"));
    }
    let lab = Lab::new()?;
    let mut play = Play::open(&lab)?;
    play.pods_start()?;
    play.route_is_edited()?;
    play.helper_is_killed()?;
    play.rules_are_flushed()?;
    play.nft_table_is_deleted()?;
    let outcome = play.close()?;
    let election = election::perform()?;
    let (wrong, leaked) = (outcome.wrong + election.wrong, outcome.leaked + election.leaked);
    say("");
    say(&format!("wrong {wrong}"));
    say(&format!("residue {}", outcome.residue.len()));
    outcome.residue.iter().for_each(|line| say(&format!("  {line}")));
    say(&format!("leaked {leaked}"));
    Ok(wrong == 0 && leaked == 0 && outcome.residue.is_empty())
}
