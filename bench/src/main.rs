//! What Sortie costs and how fast it is, beside what one would use instead.
//!
//! Guarantees: within a section everything that is compared is measured in turns in the same run; a section says on which
//! machine it ran and how often. Leaves out: judging; `bench check` compares the last figures with the aims, and no test
//! asserts any of them.

mod add;
mod cluster;
mod cluster_leak;
mod cluster_takeover;
mod document;
mod figures;
mod leak;
mod options;
mod packets;
mod plot;
mod programming;
mod report;
mod start;
mod statistics;
mod table;
mod takeover;
mod throughput;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::options::Options;
use crate::report::Report;

/// One part of the benchmark, with its place in the document.
struct Section {
    name: &'static str,
    /// Repetitions without `--rounds`.
    rounds: usize,
    run: fn(usize) -> Result<Report>,
}

/// In the order in which they run.
const SECTIONS: &[Section] = &[
    Section { name: "add", rounds: 60, run: add::run },
    Section { name: "start", rounds: 3, run: start::run },
    Section { name: "packets", rounds: 12, run: packets::run },
    Section { name: "throughput", rounds: 12, run: throughput::run },
    Section { name: "programming", rounds: 3, run: programming::run },
    Section { name: "leak", rounds: 1000, run: leak::run },
    Section { name: "cluster-leak", rounds: 12, run: cluster_leak::run },
    Section { name: "takeover", rounds: 50, run: takeover::run },
    Section { name: "cluster-takeover", rounds: 4, run: cluster_takeover::run },
];

fn main() -> ExitCode {
    match dispatch(std::env::args().skip(1)) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes one line; a closed output is no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn dispatch(arguments: impl Iterator<Item = String>) -> Result<ExitCode> {
    let options = Options::parse(arguments)?;
    if options.sections == ["check"] {
        return figures::check();
    }
    for name in &options.sections {
        let known: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
        if !known.contains(&name.as_str()) {
            bail!("no section {name:?}; there are {}, and check", known.join(", "));
        }
    }
    let chosen = |section: &&Section| options.sections.is_empty() || options.sections.iter().any(|s| s == section.name);
    for section in SECTIONS.iter().filter(chosen) {
        perform(section, &options).with_context(|| format!("section {}", section.name))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn perform(section: &Section, options: &Options) -> Result<()> {
    let rounds = options.rounds.unwrap_or(section.rounds);
    say(&format!("==> {}, {rounds} rounds", section.name));
    let report = (section.run)(rounds)?;
    let text = format!("{rounds} rounds on {}.\n\n{}", document::machine(), report.text());
    say(&format!("\n{text}"));
    figures::keep(section.name, &report.figures)?;
    if options.is_written {
        document::publish(section.name, &text, &report.plots)?;
    }
    Ok(())
}
