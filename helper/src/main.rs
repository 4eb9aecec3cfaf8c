//! `sortie-helper`: the node daemon of Sortie and its operator commands.
//!
//! Guarantees: nothing but a command's own answer is ever written to standard output; an error ends the
//! process with status 1 and one line that names its cause. Leaves out: decisions (`sortie-core`) and the
//! kernel (`sortie-kernel`).

mod burst;
mod catalogue;
mod cli;
mod doctor;
mod due;
mod explain;
mod folder;
mod health;
mod install;
mod kubernetes;
mod lock;
mod logging;
mod metrics;
mod node;
mod ownership;
mod presence;
mod replication;
mod run;
mod runtime_cache;
mod server;
mod source;
mod status;
mod store;
mod uninstall;
mod witness;

use std::io::Write as _;
use std::process::ExitCode;

use cli::Command;

/// Status of `install` on a node whose CNI has no configuration yet.
const NO_NETWORK: u8 = 3;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => return refuse(&error.into(), 2),
    };
    let outcome = match command {
        Command::Help => print(cli::HELP),
        Command::Version => print(concat!("sortie-helper ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Run(options) => run::run(&options),
        Command::Crds => kubernetes::crds::text().and_then(|text| print(&text)),
        Command::Status(options) => status::status(&options).and_then(|text| print(&text)),
        Command::Explain(options) => explain::explain(&options).and_then(|text| print(&text)),
        Command::ExplainHelp => print(cli::EXPLAIN_HELP),
        Command::DoctorHelp => print(cli::DOCTOR_HELP),
        Command::Doctor(options) => match doctor::doctor(&options) {
            Ok(answer) if answer.ok => print(&answer.text),
            Ok(answer) => {
                return print(&answer.text).map_or_else(|error| refuse(&error, 1), |()| ExitCode::FAILURE);
            }
            Err(error) => Err(error),
        },
        Command::InstallHelp => print(cli::INSTALL_HELP),
        Command::Install(options) => match install::install(&options) {
            Ok(install::Found::Entry) => Ok(()),
            Ok(install::Found::NoNetwork) => return refuse(&install::no_network(&options), NO_NETWORK),
            Err(error) => Err(error),
        },
        Command::Uninstall(options) => uninstall::uninstall(&options),
        Command::Forget(options) => kubernetes::forget::forget(&options),
    };
    outcome.map_or_else(|error| refuse(&error, 1), |()| ExitCode::SUCCESS)
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

fn refuse(error: &anyhow::Error, status: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "sortie-helper: {error:#}");
    ExitCode::from(status)
}
