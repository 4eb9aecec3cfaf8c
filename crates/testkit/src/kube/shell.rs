//! Lines of a shell, as documents show them.
//!
//! Guarantees: `kubectl`, `ctr` and the like are the programs the tests are pinned to, and reach this cluster or this
//! node without a flag; a line that fails says what it printed. Leaves out: which lines.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::net::Namespace;
use crate::tools::{Group, ensure};

/// A shell in one place, which begins each line in the same folder.
#[derive(Clone, Debug)]
pub struct Shell {
    place: Namespace,
    folder: PathBuf,
    variables: Vec<(&'static str, OsString)>,
}

impl Shell {
    /// One that finds the programs of the cluster and has one more variable.
    pub(super) fn new(place: &Namespace, folder: &Path, variable: (&'static str, OsString)) -> Result<Self> {
        let mut path = ensure(Group::Kubernetes)?.into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        // What kubectl remembers stays with the test.
        let variables = vec![("PATH", path), ("HOME", folder.into()), variable];
        Ok(Self { place: place.clone(), folder: folder.to_path_buf(), variables })
    }

    /// Runs a line, or several, and returns what it printed.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut shell = Command::new("sh");
        shell
            .args(["-euc", line])
            .current_dir(&self.folder)
            .envs(self.variables.iter().map(|(key, value)| (key, value)));
        self.place.with(|| command::text(&mut shell, ""))
    }
}
