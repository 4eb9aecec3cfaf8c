//! A program that runs beside the test.
//!
//! Guarantees: it is ended by its process id and waited for when the guard is dropped. Leaves out: its children, which
//! the namespace's end takes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::net::Namespace;
use crate::wait::poll;

/// A running program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it in a namespace; what it says goes to the file `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(namespace: &Namespace, command: &mut Command, log: &Path) -> Result<Self> {
        namespace.with(|| Self::start_here(command, log))
    }

    /// As [`Process::start`], where the calling thread is.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_here(command: &mut Command, log: &Path) -> Result<Self> {
        let options = File::options().create(true).append(true).open(log);
        let file = options.with_context(|| format!("cannot open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone().context("cannot share the log")?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log: log.to_path_buf() })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it said so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What its threads wait for, one line each: name, state, and where in the kernel.
    #[must_use]
    pub fn threads(&self) -> String {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let read = |task: &Path, file: &str| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        let line = |task: &Path| {
            let status = read(task, "status");
            let state = status.lines().find(|line| line.starts_with("State:")).unwrap_or("State: gone");
            format!("{} {state} {} syscall {}\n", read(task, "comm").trim(), read(task, "wchan"), read(task, "syscall"))
        };
        tasks.map(|task| line(&task.path())).collect()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("process id out of range")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot send {signal}"))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        poll(limit, "the end of a program", || self.ended())
    }

    /// Ends it without giving it a chance.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill9(&mut self) -> Result<()> {
        // It may be gone; what matters is that it does not run afterwards.
        let _ = self.child.kill();
        self.child.wait().context("cannot wait for a killed program")?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill9();
    }
}
