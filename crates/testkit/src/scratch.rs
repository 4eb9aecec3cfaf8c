//! A folder for one test.
//!
//! Guarantees: its name starts with `sortie-<pid>-`; it is gone when the value is dropped. Leaves out: mounts in it,
//! which live in mount namespaces that end by themselves.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A folder that removes itself.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// A new empty folder.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn new() -> Result<Self> {
        let prefix = format!("sortie-{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir().context("cannot create a temporary folder")?;
        Ok(Self(folder))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A folder in it, created with its parents.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }
}
