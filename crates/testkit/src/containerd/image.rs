//! An image with one program in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use crate::command;

/// Name of the image, also that of the sandbox.
pub const IMAGE: &str = "docker.io/sortie/probe:1";
/// The program in it.
pub(super) const PROGRAM: &str = "/probe";

/// Packs `program` and the libraries it is linked with as an archive that `ctr images import` takes.
pub(super) fn pack(folder: &Path, program: &Path) -> Result<PathBuf> {
    let root = folder.join("image");
    copy(program, &root.join(&PROGRAM[1..]))?;
    for library in libraries(program)? {
        copy(&library, &root.join(library.strip_prefix("/").unwrap_or(&library)))?;
    }
    let layer = folder.join("layer.tar");
    command::text(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&layer).arg("."), "")?;
    let sum = command::text(Command::new("sha256sum").arg(&layer), "")?;
    let sum = sum.split_whitespace().next().context("sha256sum printed nothing")?;
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Cmd": [PROGRAM, "pause"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{sum}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    for (name, document) in [("config.json", config), ("manifest.json", manifest)] {
        std::fs::write(folder.join(name), document.to_string()).with_context(|| format!("cannot write {name}"))?;
    }
    let archive = folder.join("image.tar");
    let files = ["manifest.json", "config.json", "layer.tar"];
    command::text(Command::new("tar").arg("-C").arg(folder).arg("-cf").arg(&archive).args(files), "")?;
    Ok(archive)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("no folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display())).map(drop)
}

/// Paths in the output of `ldd`; a static program has none.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let said = command::output(Command::new("ldd").arg(program), "")?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}
