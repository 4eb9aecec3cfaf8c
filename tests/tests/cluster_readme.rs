//! The README's quick start, command by command, on a cluster.
//!
//! Two things are not as a reader has them: the image is packed from the programs under test where the README says
//! `make image`, because that builds for minutes, and `busybox` is on the nodes already, because nothing can be pulled.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sortie_testkit::kube::{Cluster, Setup, Shell};
use sortie_testkit::{image, poll, programs};
use sortie_tests::commands::{self, Command, Place};

#[path = "cluster/archive.rs"]
mod archive;
#[path = "cluster/residue.rs"]
mod residue;

use residue::{conflist, nothing_is_left};

/// All nodes.
const NODES: [usize; 3] = [1, 2, 3];
/// How long it may take on a busy machine until something is as it must be.
const LIMIT: Duration = Duration::from_secs(60);
/// Image of the pod in the README, as the runtime calls it.
const BUSYBOX: &str = "docker.io/library/busybox:1.37";
/// In commands that only look: what they are to show may come a little later.
const LOOKS: [&str; 2] = [" exec ", " get "];

#[test]
fn what_the_readme_says_works_command_by_command_and_leaves_nothing() -> Result<()> {
    let desk = Desk::new()?;
    let before = NODES.map(|node| conflist(&desk.cluster, node)).into_iter().collect::<Result<Vec<_>>>()?;
    let commands = commands::read(&programs::workspace().join("README.md"), "quick start")?;
    ensure!(commands.iter().any(|command| command.prints.is_some()), "the README does not say what anything prints");
    let started = Instant::now();
    for command in &commands {
        let first = command.line.lines().next().unwrap_or_default();
        eprintln!("{:>6} ms  {first}", started.elapsed().as_millis());
        desk.run(command).with_context(|| desk.cluster.account())?;
    }
    for (node, before) in NODES.into_iter().zip(before) {
        nothing_is_left(&desk.cluster, node, &before)?;
    }
    Ok(())
}

/// A reader with a copy of the repository and a cluster.
struct Desk {
    shell: Shell,
    folder: PathBuf,
    cluster: Cluster,
}

impl Desk {
    fn new() -> Result<Self> {
        let mut cluster = Cluster::start(&Setup::new(Path::new(env!("CARGO_BIN_EXE_probe"))))?;
        let scratch = cluster.site.net().scratch();
        let (root, folder) = (scratch.folder("busybox")?, scratch.folder("desk")?);
        busybox(&root)?;
        let install = programs::workspace().join("install");
        let copied = std::process::Command::new("cp").arg("-r").arg(&install).arg(&folder).status();
        ensure!(copied.context("cannot start cp")?.success(), "{} cannot be copied", install.display());
        cluster.load(&root, (BUSYBOX, &["/bin/sh"]))?;
        Ok(Self { shell: cluster.api.shell(&folder)?, folder, cluster })
    }

    fn run(&self, command: &Command) -> Result<()> {
        let line = command.line.as_str();
        if line == "make image" {
            return self.make_image();
        }
        match (command.place, &command.prints) {
            (Place::EachNode, None) => {
                NODES.iter().try_for_each(|node| self.cluster.node(*node)?.shell(&self.folder)?.run(line).map(drop))
            }
            (Place::EachNode, Some(_)) => bail!("{line}: several nodes print something"),
            (Place::Desk, None) => self.shell.run(line).map(drop),
            (Place::Desk, Some(prints)) => self.prints(line, prints),
        }
    }

    fn prints(&self, line: &str, prints: &str) -> Result<()> {
        let limit = if LOOKS.iter().any(|look| line.contains(look)) { LIMIT } else { Duration::ZERO };
        let mut last = Ok(String::new());
        let fits = || {
            last = self.shell.run(line);
            last.as_ref().is_ok_and(|printed| commands::fits(prints, printed)).then_some(())
        };
        poll(limit, line, fits).with_context(|| format!("it printed {last:?} instead of {prints}"))
    }

    /// At the place and under the name that `cargo xtask image` has for it.
    fn make_image(&self) -> Result<()> {
        let scratch = self.cluster.site.net().scratch();
        let (root, folder) = (scratch.folder("product")?, scratch.folder("desk/target/image")?);
        archive::fill(&root)?;
        let name = concat!("sortie-", env!("CARGO_PKG_VERSION"), "-amd64.tar");
        image::pack(&root, (archive::IMAGE, archive::RUNS), &folder.join(name))
    }
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
