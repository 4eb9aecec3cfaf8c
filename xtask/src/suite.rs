//! Everything the continuous integration checks.
//!
//! Guarantees: a failing step does not hide the ones after it; the last line counts steps. Leaves out: which tests
//! exist, which cargo knows.

use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use crate::command::Tool;
use crate::progress::Steps;
use crate::{documents, layers, leftovers, licences, programs, progress, setup};

/// Seconds each fuzz target runs.
const FUZZ_SECONDS: &str = "60";
/// Fuzz targets run at the same time.
const FUZZ_WORKERS: usize = 2;

type Work = fn(&Path) -> Result<()>;

/// The steps in order; cheap ones first.
const STEPS: &[(&str, Work)] = &[
    ("what this machine lacks", |root| setup::run(root, &[])),
    ("formatting", |root| cargo(root, &["fmt", "--all", "--check"])),
    ("layers", |root| layers::run(root, &[])),
    ("licences", |root| licences::run(root, &[])),
    ("lints", |root| cargo(root, &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])),
    ("unit and contract tests", |root| {
        cargo(root, &["test", "--locked", "--no-fail-fast", "--workspace", "--exclude", "sortie-tests"])
    }),
    ("plugin, helper and demo", |root| programs::debug(root, &[])),
    ("documents", |root| documents::run(root, &[])),
    ("programs the tests drive", |root| programs::tools(root, &[])),
    ("end-to-end tests", |root| cargo(root, &["test", "--locked", "--no-fail-fast", "--package", "sortie-tests"])),
    ("fuzzing", |root| fuzz(root, &[])),
    ("leftovers", |root| leftovers::run(root, &[])),
];

/// `test`.
pub(crate) fn run(root: &Path, _: &[String]) -> Result<()> {
    let mut steps = Steps::default();
    for (name, work) in STEPS {
        steps.step(name, || work(root));
    }
    steps.finish()
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    Tool::new("cargo", root).arguments(arguments).run()
}

/// `fuzz`: every target of `fuzz/`, two at a time.
pub(crate) fn fuzz(root: &Path, arguments: &[String]) -> Result<()> {
    let seconds = arguments.first().map_or(FUZZ_SECONDS, String::as_str);
    let targets = fuzz_targets(root)?;
    if targets.is_empty() {
        bail!("fuzz/fuzz_targets holds no target");
    }
    let (waiting, failed) = (Mutex::new(targets), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..FUZZ_WORKERS {
            scope.spawn(|| fuzz_until_empty(root, seconds, &waiting, &failed));
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

fn fuzz_until_empty(root: &Path, seconds: &str, waiting: &Mutex<Vec<String>>, failed: &Mutex<Vec<String>>) {
    let next = || waiting.lock().ok().and_then(|mut list| list.pop());
    while let Some(target) = next() {
        progress::line(&format!("    {target} for {seconds} s"));
        let outcome = Tool::new(root.join("fuzz/run.sh"), root).arguments(&[target.as_str(), seconds]).run();
        if let (Err(error), Ok(mut list)) = (outcome, failed.lock()) {
            list.push(format!("{error:#}"));
        }
    }
}

fn fuzz_targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut targets = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().filter(|_| path.extension().is_some_and(|extension| extension == "rs"));
        targets.extend(name.and_then(|name| name.to_str()).map(str::to_owned));
    }
    targets.sort();
    Ok(targets)
}
