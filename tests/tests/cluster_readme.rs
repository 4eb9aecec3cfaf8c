//! The README's quick start, command by command, on a cluster.
//!
//! `busybox` is on the nodes from the start, because nothing can be pulled.

use std::path::Path;

use anyhow::{Context, Result};
use sortie_testkit::kube::{Cluster, Setup};

#[path = "cluster/desk.rs"]
mod desk;
#[path = "cluster/residue.rs"]
mod residue;

use desk::Desk;
use residue::{conflist, nothing_is_left};

/// All nodes.
const NODES: [usize; 3] = [1, 2, 3];
/// Image of the pod in the README, as the runtime calls it.
const BUSYBOX: &str = "docker.io/library/busybox:1.37";

#[test]
fn what_the_readme_says_works_command_by_command_and_leaves_nothing() -> Result<()> {
    let mut cluster = Cluster::start(&Setup::new(Path::new(env!("CARGO_BIN_EXE_probe"))))?;
    let root = cluster.site.net().scratch().folder("busybox")?;
    busybox(&root)?;
    cluster.load(&root, (BUSYBOX, &["/bin/sh"]))?;
    let before = NODES.map(|node| conflist(&cluster, node)).into_iter().collect::<Result<Vec<_>>>()?;
    Desk::new(&cluster)?.follow(&cluster, ("README.md", "quick start"))?;
    for (node, before) in NODES.into_iter().zip(before) {
        nothing_is_left(&cluster, node, &before)?;
    }
    Ok(())
}

/// A tree with the programs the README uses in a pod.
fn busybox(root: &Path) -> Result<()> {
    let found = ["/usr/bin/busybox", "/bin/busybox"].map(Path::new).into_iter().find(|path| path.is_file());
    let bin = root.join("bin");
    std::fs::create_dir_all(&bin).context("cannot create a folder")?;
    std::fs::copy(found.context("busybox is not there; `cargo xtask setup`")?, bin.join("busybox"))
        .context("cannot copy busybox")?;
    for name in ["sh", "sleep", "traceroute"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).context("cannot make a link")?;
    }
    Ok(())
}
