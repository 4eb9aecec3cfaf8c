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
    tools(root, &["cni".to_owned()])
}

fn program(root: &Path, name: &str, arguments: &[String]) -> Result<()> {
    Tool::new(target(root).join("debug").join(name), root).arguments(arguments).run()
}

/// Folder of cargo's results.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}
