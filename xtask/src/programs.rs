//! Building and starting the programs of the workspace.
//!
//! Guarantees: the plugin and the helper are each built alone, so that neither gets features the other needs.
//! Leaves out: what the programs do.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::command::Tool;
use crate::{dist, progress, setup};

/// `build`.
pub(crate) fn debug(root: &Path, _: &[String]) -> Result<()> {
    for package in ["sortie", "sortie-helper", "sortie-tests"] {
        progress::line(&format!("==> {package}"));
        Tool::new("cargo", root).arguments(&["build", "--locked", "--bins", "--package", package]).run()?;
    }
    Ok(())
}

/// `tools`: all of them, or the groups named.
pub(crate) fn tools(root: &Path, groups: &[String]) -> Result<()> {
    let build = ["run", "--quiet", "--locked", "--package", "sortie-testkit", "--bin", "tools", "--"];
    Tool::new("cargo", root).arguments(&build).arguments(groups).run()
}

/// `demo`.
pub(crate) fn demo(root: &Path, arguments: &[String]) -> Result<()> {
    prepare(root)?;
    debug(root, &[])?;
    progress::line("==> demo");
    Tool::new(target(root).join("debug/demo"), root).arguments(arguments).run()
}

/// `bench`: all sections into the document, or the sections named.
pub(crate) fn bench(root: &Path, arguments: &[String]) -> Result<()> {
    prepare(root)?;
    dist::run(root, &[])?;
    if arguments.is_empty() { benchmark(root, &["--write".to_owned()]) } else { benchmark(root, arguments) }
}

/// `bench-quick`.
pub(crate) fn bench_quick(root: &Path, arguments: &[String]) -> Result<()> {
    bench(root, &section("add", arguments))
}

/// `bench-takeover`.
pub(crate) fn bench_takeover(root: &Path, arguments: &[String]) -> Result<()> {
    bench(root, &section("takeover", arguments))
}

/// `bench-check`.
pub(crate) fn bench_check(root: &Path, _: &[String]) -> Result<()> {
    benchmark(root, &["check".to_owned()])
}

fn section(name: &str, arguments: &[String]) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(arguments.iter().cloned()).collect()
}

/// Runs the benchmark with released programs.
fn benchmark(root: &Path, arguments: &[String]) -> Result<()> {
    progress::line("==> benchmark");
    let built = ["--package", "sortie-bench", "--package", "sortie-tests", "--bin", "sortie-bench", "--bin", "probe"];
    Tool::new("cargo", root).arguments(&["build", "--release", "--locked"]).arguments(&built).run()?;
    let released = target(root).join("release");
    // State in memory, as `/run` is where the helper keeps it.
    let bench = Tool::new(released.join("sortie-bench"), root).variable("TMPDIR", "/dev/shm");
    bench.variable("SORTIE_BIN_DIR", released).arguments(arguments).run()
}

fn prepare(root: &Path) -> Result<()> {
    progress::line("==> what this machine lacks");
    setup::run(root, &[])?;
    progress::line("==> programs of the CNI project");
    tools(root, &["cni".to_owned()])
}

/// Folder of cargo's results.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}
