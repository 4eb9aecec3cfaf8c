//! `sortie-helper` on the node of a [`Lab`].
//!
//! Guarantees: state, data, socket and manifests are in the folder of the test; the program ends with the guard.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::command;
use crate::lab::Lab;
use crate::process::Process;
use crate::programs;
use crate::wait::{poll, until};

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(30);
/// How long an orderly end may take.
const END: Duration = Duration::from_secs(30);
/// Name of the node in manifests.
pub const NODE: &str = "node1";

/// The running helper.
#[derive(Debug)]
pub struct Helper<'a> {
    lab: &'a Lab,
    flags: Vec<String>,
    process: Process,
}

impl<'a> Helper<'a> {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it is not built, ends, or is not ready in time; with its log.
    pub fn start(lab: &'a Lab, flags: &[&str]) -> Result<Self> {
        let mut helper = Self::launch(lab, flags)?;
        helper.await_ready()?;
        Ok(helper)
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// When it is not built.
    pub fn launch(lab: &'a Lab, flags: &[&str]) -> Result<Self> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let process = spawn(lab, &flags)?;
        Ok(Self { lab, flags, process })
    }

    /// Waits until the socket answers.
    ///
    /// # Errors
    /// When it ends or takes too long; with its log.
    pub fn await_ready(&mut self) -> Result<()> {
        let socket = socket(self.lab);
        let is_open = || UnixStream::connect(&socket).map(|stream| stream.shutdown(Shutdown::Both)).is_ok();
        let mut ended = None;
        let outcome = until(START, "the helper's socket", || {
            ended = self.process.ended();
            ended.is_some() || is_open()
        });
        if let Some(status) = ended {
            bail!("the helper ended with {status}: {}", self.process.log());
        }
        outcome.with_context(|| self.process.log())
    }

    /// The program.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it said so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Ends it without giving it a chance.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9()
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait(END)?;
        if !status.success() {
            bail!("the helper ended with {status}: {}", self.process.log());
        }
        Ok(())
    }

    /// Starts it again after it ended, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Helper::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.relaunch(&[])
    }

    /// Starts it again after it ended, with other flags unless there are none.
    ///
    /// # Errors
    /// As [`Helper::start`].
    pub fn relaunch(&mut self, flags: &[&str]) -> Result<()> {
        if !flags.is_empty() {
            self.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        }
        // The dead one's socket file would look like readiness.
        let _ = std::fs::remove_file(socket(self.lab));
        self.process = spawn(self.lab, &self.flags)?;
        self.await_ready()
    }

    /// `status -o json`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Value> {
        let program = programs::ours("sortie-helper")?;
        let socket = socket(self.lab);
        let mut command = Command::new(program);
        command.args(["status", "-o", "json", "--socket"]).arg(socket);
        let text = command::text(&mut command, "")?;
        serde_json::from_str(&text).with_context(|| format!("status is no JSON: {text}"))
    }

    /// Waits until the status is as wanted, and returns it.
    ///
    /// # Errors
    /// When it is not in time; with the last one and the log.
    pub fn await_status(&self, limit: Duration, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = None;
        poll(limit, what, || {
            last = self.status().ok();
            last.clone().filter(|status| wanted(status))
        })
        .with_context(|| format!("last status {last:#?}\n{}", self.process.log()))
    }

    /// Waits until a condition contains `text`, and returns the condition.
    ///
    /// # Errors
    /// When none does in time.
    pub fn await_condition(&self, limit: Duration, text: &str) -> Result<String> {
        let found = |status: &Value| conditions(status).into_iter().find(|condition| condition.contains(text));
        let status =
            self.await_status(limit, &format!("a condition with {text:?}"), |status| found(status).is_some())?;
        found(&status).context("it was there")
    }
}

/// The conditions in a status.
#[must_use]
pub fn conditions(status: &Value) -> Vec<String> {
    let list = status["conditions"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|condition| condition.as_str().map(str::to_owned)).collect()
}

/// Runs `uninstall` on the node and returns what it said.
///
/// # Errors
/// When it fails.
pub fn uninstall(lab: &Lab) -> Result<String> {
    let mut command = Command::new(programs::ours("sortie-helper")?);
    command.arg("uninstall").args(places(lab)?);
    lab.node.with(|| command::text(&mut command, ""))
}

/// Where the socket is.
#[must_use]
pub fn socket(lab: &Lab) -> PathBuf {
    lab.path("helper.sock")
}

fn spawn(lab: &Lab, flags: &[String]) -> Result<Process> {
    let mut command = Command::new(programs::ours("sortie-helper")?);
    command.args(["run", "--node", NODE]).args(places(lab)?);
    if !flags.iter().any(|flag| flag == "--kubernetes") {
        command.arg("--manifests").arg(lab.net().scratch().folder("manifests")?);
    }
    if !flags.iter().any(|flag| flag == "--log-level") {
        command.args(["--log-level", "debug"]);
    }
    command.args(flags);
    Process::start(&lab.node, &mut command, &lab.path("helper.log"))
}

fn places(lab: &Lab) -> Result<Vec<PathBuf>> {
    let scratch = lab.net().scratch();
    let flag = PathBuf::from;
    Ok(vec![
        flag("--state-dir"),
        scratch.folder("state")?,
        flag("--data-dir"),
        scratch.folder("data")?,
        flag("--socket"),
        socket(lab),
    ])
}
