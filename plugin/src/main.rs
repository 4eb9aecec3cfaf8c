//! `sortie`, the chained CNI plugin.
//!
//! Guarantees: one JSON document on standard output or nothing, `prevResult` byte for byte as it came, exit
//! status 0 or 1; a failed ADD leaves nothing behind; DEL always succeeds. Leaves out: every decision about
//! routes, which is the helper's; this program asks it over a unix socket and installs the rules it names.
#![forbid(unsafe_code)]

mod add;
mod check;
mod del;
mod gc;
mod helper;
mod interest;
mod leftovers;
mod logging;
mod reply;
mod status;
mod trouble;

use std::io::Read as _;
use std::process::ExitCode;
use std::time::Instant;

use sortie_core::cni::{self, CniError, Command, INPUT_MAX, Input, Refusal};

use logging::Record;
use reply::Answer;
use trouble::Trouble;

fn main() -> ExitCode {
    let started = Instant::now();
    reply::answer_panics();
    reply::send(&answer(started))
}

fn answer(started: Instant) -> Answer {
    match read() {
        Ok(input) => {
            logging::start(&input.conf);
            for key in &input.conf.unknown {
                log::warn!(
                    "key of the network configuration is unknown and ignored network={} key={key:?}",
                    input.conf.name
                );
            }
            let (record, outcome) = run(&input);
            record.write(started, outcome.as_ref().err());
            outcome.unwrap_or_else(|trouble| Answer::Error(Refusal { version: input.version, error: trouble.into() }))
        }
        Err(refusal) => Answer::Error(refusal),
    }
}

/// One byte more than is accepted is read, so that more is noticed.
fn read() -> Result<Input, Refusal> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let mut stdin = Vec::new();
    let done = std::io::stdin().lock().take(INPUT_MAX as u64 + 1).read_to_end(&mut stdin);
    let parsed = cni::parse(variable, &stdin);
    match (done, parsed) {
        // What was read is no reason to keep an attachment or to hide the version.
        (_, Ok(input)) if matches!(input.command, Command::Del(_) | Command::Version) => Ok(input),
        (Err(error), Err(refusal)) if refusal.error.code != cni::code::ENVIRONMENT => Err(unreadable(&error)),
        (Err(error), Ok(_)) => Err(unreadable(&error)),
        (_, parsed) => parsed,
    }
}

fn unreadable(error: &std::io::Error) -> Refusal {
    let msg = "standard input cannot be read".to_owned();
    let error = CniError { code: cni::code::IO, msg, details: error.to_string() };
    Refusal { version: cni::VERSION_LATEST.to_owned(), error }
}

fn run(input: &Input) -> (Record<'_>, Result<Answer, Trouble>) {
    let conf = &input.conf;
    let quiet = |outcome: Result<(), Trouble>| outcome.map(|()| Answer::Nothing);
    match &input.command {
        Command::Add(addition) => {
            let attachment = &addition.attachment;
            let record = Record::of("ADD", &attachment.container_id, &attachment.interface);
            match add::run(conf, addition) {
                Ok(selected) => (record.selected(selected), Ok(Answer::Text(addition.prev_result.text.clone()))),
                Err(trouble) => (record, Err(trouble)),
            }
        }
        Command::Del(target) => {
            del::run(conf, target);
            (Record::about("DEL", target), Ok(Answer::Nothing))
        }
        Command::Check(target, addresses) => {
            (Record::about("CHECK", target), quiet(check::run(conf, target, addresses)))
        }
        Command::Gc(valid) => (Record::of("GC", "-", "-"), quiet(gc::run(conf, valid))),
        Command::Status => (Record::of("STATUS", "-", "-"), quiet(status::run(conf))),
        Command::Version => (Record::of("VERSION", "-", "-"), Ok(Answer::Versions(input.version.clone()))),
    }
}
