//! Where the programs under test are.
//!
//! Guarantees: a program that was not built is an error that says how to build it. Leaves out: building it, because cargo
//! holds its lock while tests run.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Top of the repository.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Folder of cargo's results: `CARGO_TARGET_DIR`, or `target` at the top.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Path of one of our programs: in `SORTIE_BIN_DIR` if that is set, else where `cargo build` puts it.
///
/// # Errors
/// When it is not there.
pub fn ours(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("SORTIE_BIN_DIR").map_or_else(|| target().join("debug"), PathBuf::from);
    let path = folder.join(name);
    if !path.is_file() {
        bail!("{} is not there; run `cargo xtask build`", path.display());
    }
    Ok(path)
}
