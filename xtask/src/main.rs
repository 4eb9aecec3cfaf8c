//! Automation of the repository: `cargo xtask <command>`.
//!
//! Guarantees: every check of the continuous integration can be run alone and by hand, and every
//! command says what it is doing before it does it. Leaves out: building a C linker for cargo itself,
//! without which this program could not have been built (`xtask/bootstrap`).

mod chart;
mod command;
mod dist;
mod documents;
mod image;
mod layers;
mod leftovers;
mod licences;
mod metadata;
mod programs;
mod progress;
mod setup;
mod suite;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::command::Tool;

/// One command: its name, what it does, and the function that does it.
struct Command {
    name: &'static str,
    help: &'static str,
    run: fn(&Path, &[String]) -> Result<()>,
}

const COMMANDS: &[Command] = &[
    Command { name: "setup", help: "install what building and testing need", run: setup::run },
    Command { name: "build", help: "debug binaries of the plugin, the helper and the demo", run: programs::debug },
    Command { name: "tools", help: "build the programs of other projects the tests drive", run: programs::tools },
    Command { name: "test", help: "everything the continuous integration checks", run: suite::run },
    Command { name: "fuzz", help: "fuzz every target for a minute (or SECONDS)", run: suite::fuzz },
    Command { name: "check-layers", help: "find dependencies that point the wrong way", run: layers::run },
    Command { name: "licences", help: "check the licence of every dependency against deny.toml", run: licences::run },
    Command { name: "documents", help: "check links, numbers and commands in the documents", run: documents::run },
    Command { name: "leftovers", help: "find what a test left on this machine", run: leftovers::run },
    Command { name: "dist", help: "static plugin and stripped helper, in target/release", run: dist::run },
    Command { name: "image", help: "container image of both programs and nft, in target/image", run: image::run },
    Command { name: "chart", help: "write the Helm chart from the manifests in install/kustomize", run: chart::run },
    Command { name: "demo", help: "the main job, live: pods, routers, a server", run: programs::demo },
    Command {
        name: "bench",
        help: "all measurements, into docs/performance.md; or SECTIONS, --rounds N; KUBE_VIP=path: beside it, too",
        run: programs::bench,
    },
    Command { name: "bench-check", help: "the last measurements against their aims", run: programs::bench_check },
    Command { name: "bench-quick", help: "ADD and DEL against sbr, portmap and tuning", run: programs::bench_quick },
    Command { name: "bench-takeover", help: "what pods notice when an owner goes", run: programs::bench_takeover },
    Command { name: "fmt", help: "format the whole workspace", run: format_workspace },
];

fn main() -> ExitCode {
    match dispatch(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::line(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: Vec<String>) -> Result<()> {
    let Some((name, rest)) = arguments.split_first().filter(|(name, _)| !matches!(name.as_str(), "help" | "--help"))
    else {
        print_help();
        return Ok(());
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        bail!("no command {name:?}; cargo xtask help lists them");
    };
    (command.run)(&root()?, rest)
}

fn print_help() {
    progress::line("cargo xtask COMMAND");
    for command in COMMANDS {
        progress::line(&format!("  {:<14} {}", command.name, command.help));
    }
}

/// Top of the repository.
fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask has no parent directory")?.to_path_buf())
}

fn format_workspace(root: &Path, _: &[String]) -> Result<()> {
    Tool::new("cargo", root).arguments(&["fmt", "--all"]).run()
}
