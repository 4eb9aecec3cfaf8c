//! What benchmarks have in common: a number of repetitions, a table, a document.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result};
use sortie_testkit::programs;

use crate::document;

/// Writes one line; a closed output is no reason to stop.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// A benchmark by name, with the flag that says how often.
#[derive(Clone, Copy, Debug)]
pub struct Benchmark {
    /// Its place in `docs/performance.md`.
    pub name: &'static str,
    /// `--rounds`, `--runs`.
    pub flag: &'static str,
    /// Without the flag.
    pub repetitions: usize,
}

impl Benchmark {
    /// Runs it as the arguments say: prints its table, and writes it into the document with `--write`.
    pub fn main(self, run: impl FnOnce(usize) -> Result<String>) -> ExitCode {
        match self.perform(run) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("error: {error:#}"));
                ExitCode::FAILURE
            }
        }
    }

    fn perform(self, run: impl FnOnce(usize) -> Result<String>) -> Result<()> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let table = run(self.repetitions(&arguments)?)?;
        say(&format!("\n{table}"));
        if arguments.iter().any(|argument| argument == "--write") {
            let file = programs::workspace().join("docs/performance.md");
            document::write(&file, self.name, &table)?;
            say(&format!("written to {}", file.display()));
        }
        Ok(())
    }

    fn repetitions(self, arguments: &[String]) -> Result<usize> {
        let Some(at) = arguments.iter().position(|argument| argument == self.flag) else { return Ok(self.repetitions) };
        let text = arguments.get(at + 1).with_context(|| format!("{} needs a number", self.flag))?;
        text.parse().with_context(|| format!("{}: {text:?} is no number", self.flag))
    }
}
