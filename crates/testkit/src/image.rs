//! Container images made here: one layer out of one folder.
//!
//! Guarantees: the archive is what `ctr images import` takes, and depends on the folder and the command only. Leaves
//! out: registries.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use crate::command;
use crate::scratch::Scratch;

/// Time and owner of every file in a layer.
const ALIKE: [&str; 5] = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];

/// Packs the folder `root` as the image `name` that runs `words`, into the file `archive`.
///
/// # Errors
/// When a file cannot be read or written.
pub fn pack(root: &Path, (name, words): (&str, &[&str]), archive: &Path) -> Result<()> {
    let scratch = Scratch::new()?;
    let layer = scratch.path().join("layer.tar");
    command::text(Command::new("tar").args(ALIKE).arg("-C").arg(root).arg("-cf").arg(&layer).arg("."), "")?;
    let sum = command::text(Command::new("sha256sum").arg(&layer), "")?;
    let sum = sum.split_whitespace().next().context("sha256sum printed nothing")?;
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Cmd": words},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{sum}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    for (file, document) in [("config.json", config), ("manifest.json", manifest)] {
        std::fs::write(scratch.path().join(file), document.to_string())
            .with_context(|| format!("cannot write {file}"))?;
    }
    let files = ["manifest.json", "config.json", "layer.tar"];
    command::text(Command::new("tar").arg("-C").arg(scratch.path()).arg("-cf").arg(archive).args(files), "").map(drop)
}

/// Puts a program at `/<its name>` of the folder `root`, and the libraries it is linked with where it looks for them.
///
/// # Errors
/// When a file cannot be copied.
pub fn add(root: &Path, program: &Path) -> Result<()> {
    let name = program.file_name().context("a program without a name")?;
    copy(program, &root.join(name))?;
    for library in libraries(program)? {
        copy(&library, &root.join(library.strip_prefix("/").unwrap_or(&library)))?;
    }
    Ok(())
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
