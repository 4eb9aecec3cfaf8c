//! What the operator reads while a command works.
//!
//! Guarantees: one line per step when it starts and one when it ends, with its duration; the last line of
//! a run of several steps is `N passed, N failed` and nothing else. Leaves out: colours and terminals.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Writes one line on standard output. A closed output is not an error of the work itself.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Several steps, each tried even when an earlier one failed.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

struct Step {
    name: String,
    took: Duration,
    error: Option<String>,
}

impl Steps {
    /// Runs one step and remembers how it ended.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        line(&format!("==> {name}"));
        let start = Instant::now();
        let error = work().err().map(|error| format!("{error:#}"));
        let step = Step { name: name.to_owned(), took: start.elapsed(), error };
        line(&step.summary());
        self.done.push(step);
    }

    /// Prints every step again and the totals.
    ///
    /// # Errors
    /// When a step failed.
    pub(crate) fn finish(self) -> Result<()> {
        line("");
        for step in &self.done {
            line(&step.summary());
        }
        let failed = self.done.iter().filter(|step| step.error.is_some()).count();
        line(&format!("{} passed, {failed} failed", self.done.len() - failed));
        if failed > 0 {
            bail!("{failed} of {} steps failed", self.done.len());
        }
        Ok(())
    }
}

impl Step {
    fn summary(&self) -> String {
        let seconds = self.took.as_secs_f64();
        match &self.error {
            None => format!("ok      {:<34} {seconds:8.1} s", self.name),
            Some(error) => format!("FAILED  {:<34} {seconds:8.1} s  {error}", self.name),
        }
    }
}
