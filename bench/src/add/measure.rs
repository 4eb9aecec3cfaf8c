//! One run of a plugin: how long, how much memory.
//!
//! Guarantees: time is wall time from just before the start of the process to its end, by the monotonic clock, with the
//! input already in a pipe; memory is the kernel's high-water mark of the process itself, read while it stands at its exit.
//! Leaves out: doing both in one run, because being traced costs time.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

/// Command of CNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Add,
    Del,
}

impl Verb {
    /// As CNI writes it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
        }
    }
}

/// A plugin and what it is called with.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The program.
    pub(crate) program: PathBuf,
    /// `CNI_*`, except the command.
    pub(crate) environment: Vec<(String, String)>,
    /// Net conf with the previous result.
    pub(crate) input: String,
}

impl Call {
    /// Runs `verb` and returns what it printed and the wall time.
    ///
    /// # Errors
    /// When the plugin refuses.
    pub(crate) fn run(&self, verb: Verb) -> Result<(String, Duration)> {
        let (output, took) = self.attempt(verb)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("{} {}: {}: {said}", self.program.display(), verb.word(), output.status);
        }
        Ok((said, took))
    }

    /// Runs `verb`, which is to be refused with the CNI error `code`, and returns the wall time.
    ///
    /// # Errors
    /// When the plugin succeeds, or refuses for another reason.
    pub(crate) fn refused(&self, verb: Verb, code: u64) -> Result<Duration> {
        let (output, took) = self.attempt(verb)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let answer: Value = serde_json::from_str(&said).unwrap_or_default();
        if output.status.success() || answer["code"] != code {
            bail!("{} {} was to be refused with {code}: {said}", self.program.display(), verb.word());
        }
        Ok(took)
    }

    fn attempt(&self, verb: Verb) -> Result<(Output, Duration)> {
        let start = Instant::now();
        let mut child = self.start(verb)?;
        self.feed(&mut child)?;
        let output = child.wait_with_output().context("cannot wait for the plugin")?;
        Ok((output, start.elapsed()))
    }

    /// Runs `verb` and returns the largest resident size of the process, in KiB.
    ///
    /// # Errors
    /// When it cannot be traced, or refuses.
    pub(crate) fn memory(&self, verb: Verb) -> Result<u64> {
        let mut child = self.start(verb)?;
        let pid = Pid::from_raw(i32::try_from(child.id()).context("process id out of range")?);
        // It waits for its input, so it cannot be gone before it is traced.
        ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXIT).context("cannot trace the plugin")?;
        self.feed(&mut child)?;
        let mut peak = None;
        loop {
            match waitpid(pid, None).context("cannot wait for the plugin")? {
                WaitStatus::PtraceEvent(..) => {
                    peak = peak.or(high_water(pid));
                    ptrace::cont(pid, None).context("cannot continue the plugin")?;
                }
                WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal).context("cannot continue the plugin")?,
                WaitStatus::Exited(_, 0) => return peak.context("the kernel gave no high-water mark"),
                WaitStatus::Exited(_, code) => {
                    let said = child.stdout.take().map(std::io::read_to_string).transpose().unwrap_or_default();
                    bail!("{} ended with {code}: {}", self.program.display(), said.unwrap_or_default());
                }
                WaitStatus::Signaled(_, signal, _) => bail!("{} ended by {signal}", self.program.display()),
                _ => {}
            }
        }
    }

    fn start(&self, verb: Verb) -> Result<Child> {
        let mut command = Command::new(&self.program);
        command.env("CNI_COMMAND", verb.word()).envs(self.environment.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().with_context(|| format!("cannot start {}", self.program.display()))
    }

    /// The input fits into the pipe's buffer, so this does not wait for the plugin.
    fn feed(&self, child: &mut Child) -> Result<()> {
        let mut pipe = child.stdin.take().context("the plugin has no standard input")?;
        pipe.write_all(self.input.as_bytes()).context("cannot write the plugin's input")
    }
}

/// `VmHWM` (`proc(5)`), in KiB.
fn high_water(pid: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
