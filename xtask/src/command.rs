//! Programs started by the automation.
//!
//! Guarantees: a failure names the whole command line; nothing is passed through a shell. Leaves out:
//! deadlines, because the slow steps (a cold build) have none that fits every machine.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Directories searched in addition to `PATH`: a plain Debian login shell lacks the `sbin` ones.
const EXTRA: &[&str] = &["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/go/bin"];

/// A program to run.
pub(crate) struct Tool {
    command: Command,
    shown: String,
}

impl Tool {
    /// `program`, started in `directory`.
    pub(crate) fn new(program: impl AsRef<OsStr>, directory: &Path) -> Self {
        let program = program.as_ref();
        let mut command = Command::new(program);
        // A toolchain that `setup` fetched comes before everything else.
        let own = directory.join(".cache/go/bin");
        command.current_dir(directory).env("PATH", search_path(own.is_dir().then_some(own)));
        Self { command, shown: program.to_string_lossy().into_owned() }
    }

    /// Adds arguments.
    pub(crate) fn arguments<S: AsRef<str>>(mut self, arguments: &[S]) -> Self {
        for argument in arguments.iter().map(AsRef::as_ref) {
            self.command.arg(argument);
            self.shown.push(' ');
            self.shown.push_str(argument);
        }
        self
    }

    /// Adds an environment variable.
    pub(crate) fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs to the end with our own input and output.
    ///
    /// # Errors
    /// When it cannot be started or does not exit with zero.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self.command.status().with_context(|| format!("cannot start `{}`", self.shown))?;
        if !status.success() {
            bail!("`{}` ended with {status}", self.shown);
        }
        Ok(())
    }

    /// Runs to the end and returns what it printed on standard output.
    ///
    /// # Errors
    /// As [`Tool::run`], with what it printed on standard error.
    pub(crate) fn capture(mut self) -> Result<String> {
        self.command.stdin(Stdio::null());
        let output = self.command.output().with_context(|| format!("cannot start `{}`", self.shown))?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` ended with {}: {}", self.shown, output.status, error.trim());
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{}` printed something unreadable", self.shown))
    }
}

/// Where `program` is, if anywhere.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path(None)).map(|directory| directory.join(program)).find(|path| path.is_file())
}

fn search_path(first: Option<PathBuf>) -> OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let extra = EXTRA.iter().map(PathBuf::from).filter(|directory| directory.is_dir());
    let all: Vec<PathBuf> = first.into_iter().chain(std::env::split_paths(&inherited)).chain(extra).collect();
    std::env::join_paths(all).unwrap_or(inherited)
}
