//! Building and starting the programs of the workspace.
//!
//! Guarantees: the plugin and the helper are each built alone, so that neither gets features the other needs.
//! Leaves out: what the programs do.

use std::path::Path;

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

/// `tools`.
pub(crate) fn tools(root: &Path, _: &[String]) -> Result<()> {
    Tool::new("cargo", root)
        .arguments(&["run", "--quiet", "--locked", "--package", "sortie-testkit", "--bin", "tools"])
        .run()
}

/// `demo`.
pub(crate) fn demo(root: &Path, arguments: &[String]) -> Result<()> {
    prepare(root)?;
    debug(root, &[])?;
    program(root, "demo", arguments)
}

/// `bench-quick`.
pub(crate) fn bench_quick(root: &Path, arguments: &[String]) -> Result<()> {
    prepare(root)?;
    dist::run(root, &[])?;
    debug(root, &[])?;
    program(root, "bench", arguments)
}

fn prepare(root: &Path) -> Result<()> {
    progress::line("==> what this machine lacks");
    setup::run(root, &[])?;
    progress::line("==> programs of the CNI project");
    tools(root, &[])
}

fn program(root: &Path, name: &str, arguments: &[String]) -> Result<()> {
    Tool::new(root.join("target/debug").join(name), root).arguments(arguments).run()
}
