//! Figures that have an aim, kept from one run to the check.
//!
//! Guarantees: the check reads what the last run of each section kept in `target/bench`, and says of each figure by how
//! much it reaches or misses its aim. Leaves out: figures of another machine.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sortie_testkit::programs;

use crate::say;
use crate::statistics::f64_of;

/// A measured number and the most it should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What was measured, in words.
    pub(crate) name: String,
    pub(crate) value: f64,
    /// The unit, or what it is a share of.
    pub(crate) unit: String,
    pub(crate) at_most: f64,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &str, at_most: f64) -> Self {
        Self { name: name.into(), value, unit: unit.to_owned(), at_most }
    }

    /// Of something that is counted and never happens.
    pub(crate) fn never(name: impl Into<String>, count: usize, unit: &str) -> Self {
        Self::new(name, f64_of(count), unit, 0.0)
    }

    fn is_reached(&self) -> bool {
        self.value <= self.at_most
    }

    fn line(&self) -> String {
        let Self { name, value, unit, at_most } = self;
        let verdict = if self.is_reached() { "reached" } else { "MISSED " };
        format!("    {verdict}  {name}: {value:.2} {unit}, aim {at_most:.2}")
    }
}

fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| programs::workspace().join("target")).join("bench")
}

/// Keeps a section's figures for [`check`].
pub(crate) fn keep(section: &str, figures: &[Figure]) -> Result<()> {
    let folder = folder();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(format!("{section}.json"));
    let text = serde_json::to_string_pretty(figures).context("cannot write figures")?;
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Compares the kept figures of all sections with their aims; fails when one is missed.
pub(crate) fn check() -> Result<ExitCode> {
    let mut missed = 0;
    let mut files = kept()?;
    files.sort();
    ensure!(!files.is_empty(), "nothing was measured yet; `make bench` does it");
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let figures: Vec<Figure> = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        say(&format!("==> {}", file.file_stem().unwrap_or_default().display()));
        for figure in figures {
            say(&figure.line());
            missed += usize::from(!figure.is_reached());
        }
    }
    say(&format!("{missed} missed"));
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn kept() -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder()) else { return Ok(Vec::new()) };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).context("cannot read the figures' folder"));
    let paths: Vec<PathBuf> = paths.collect::<Result<_>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "json")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_says_whether_its_aim_is_reached() {
        let figure = |value| Figure::new("ADD", value, "of sbr", 0.25).line();
        assert_eq!(figure(0.25), "    reached  ADD: 0.25 of sbr, aim 0.25");
        assert_eq!(figure(0.27), "    MISSED   ADD: 0.27 of sbr, aim 0.25");
    }
}
