//! The image of the product, made from the programs under test.
//!
//! Guarantees: it holds what `cargo xtask image` puts into one, under the same name. Leaves out: building the programs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sortie_testkit::{image, programs};

/// Name of the image in the manifests.
pub const IMAGE: &str = concat!("sortie.dev/sortie:", env!("CARGO_PKG_VERSION"));
/// What it runs when a pod names no command.
pub const RUNS: &[&str] = &["/sortie-helper", "--help"];

/// Fills a folder with the tree of the image that `cargo xtask image` makes.
///
/// # Errors
/// When a program is not there or cannot be copied.
pub fn fill(root: &Path) -> Result<()> {
    let nft = ["/usr/sbin/nft", "/sbin/nft"].map(Path::new).into_iter().find(|path| path.is_file());
    image::add(root, nft.context("nft is not there; `cargo xtask setup`")?)?;
    std::fs::create_dir_all(root.join("usr/sbin")).context("cannot create a folder")?;
    std::fs::rename(root.join("nft"), root.join("usr/sbin/nft")).context("cannot move nft")?;
    for name in ["sortie-helper", "sortie"] {
        image::add(root, &programs::ours(name)?)?;
        // Names for a debugger are most of it, and every node takes them in.
        let stripped = Command::new("strip").arg("--strip-debug").arg(root.join(name)).status();
        ensure!(stripped.context("cannot start strip")?.success(), "{name} cannot be stripped");
    }
    Ok(())
}
