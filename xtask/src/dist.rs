//! The files of a release.
//!
//! Guarantees: the plugin needs no dynamic loader, which is checked in the file itself; both programs are stripped.
//! Leaves out: packages, images and signatures.

mod elf;

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::Tool;
use crate::setup::STATIC_TARGET;
use crate::{programs, progress};

/// `dist`.
pub(crate) fn run(root: &Path, _: &[String]) -> Result<()> {
    progress::line(&format!("==> plugin, {STATIC_TARGET}"));
    build(root, &["--package", "sortie", "--target", STATIC_TARGET])?;
    progress::line("==> helper");
    build(root, &["--package", "sortie-helper"])?;
    let target = programs::target(root);
    let plugin = target.join(STATIC_TARGET).join("release/sortie");
    let beside = target.join("release/sortie");
    let file = std::fs::read(&plugin).with_context(|| format!("cannot read {}", plugin.display()))?;
    if elf::interpreter(&file)? {
        bail!("{} asks for a dynamic loader", plugin.display());
    }
    std::fs::copy(&plugin, &beside).with_context(|| format!("cannot write {}", beside.display()))?;
    size(&beside)?;
    size(&target.join("release/sortie-helper"))
}

fn build(root: &Path, what: &[&str]) -> Result<()> {
    Tool::new("cargo", root).arguments(&["build", "--release", "--locked"]).arguments(what).run()
}

fn size(file: &Path) -> Result<()> {
    let bytes = std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    progress::line(&format!("{:>9} bytes  {}", bytes, file.display()));
    Ok(())
}
