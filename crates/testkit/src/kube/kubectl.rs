//! `kubectl` of one user.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::command;
use crate::net::Namespace;
use crate::process::Process;
use crate::tools::{Group, ensure};

/// Several objects as `apply` takes them.
#[must_use]
pub fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Asks one API server, from a namespace that reaches it.
#[derive(Clone, Debug)]
pub struct Kubectl {
    place: Namespace,
    program: PathBuf,
    config: PathBuf,
}

impl Kubectl {
    /// For the user of the kubeconfig in the file `config`; what kubectl remembers is kept beside it.
    ///
    /// # Errors
    /// When the program cannot be built.
    pub fn new(place: &Namespace, config: &Path) -> Result<Self> {
        let program = ensure(Group::Kubernetes)?.join("kubectl");
        Ok(Self { place: place.clone(), program, config: config.to_path_buf() })
    }

    /// Runs it with these words and returns what it printed.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        self.place.with(|| command::text(self.command().args(words), ""))
    }

    /// Runs it with these words and returns how it ended, well or not.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn output(&self, words: &[&str]) -> Result<Output> {
        self.place.with(|| command::output(self.command().args(words), ""))
    }

    /// Runs `get` with these words and returns the object, or the list in `items`.
    ///
    /// # Errors
    /// When it fails.
    pub fn get(&self, words: &[&str]) -> Result<Value> {
        let text = self.run(&[&["get", "-o", "json"], words].concat())?;
        serde_json::from_str(&text).with_context(|| format!("kubectl get {words:?} printed no JSON"))
    }

    /// Applies manifests, YAML or JSON.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        self.place.with(|| command::text(self.command().args(["apply", "-f", "-"]), manifests)).map(drop)
    }

    /// Starts it with these words, `proxy` for example; what it says goes to the file `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, words: &[&str], log: &Path) -> Result<Process> {
        Process::start(&self.place, self.command().args(words), log)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.config).arg("--cache-dir").arg(self.config.with_extension("cache"));
        command
    }
}
