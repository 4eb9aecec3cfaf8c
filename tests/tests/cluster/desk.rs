//! A reader of our documents, with a copy of the repository and a cluster.
//!
//! One thing is not as a reader has it: the image is packed from the programs under test where a document says
//! `make image`, because that builds for minutes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sortie_testkit::kube::{Cluster, Shell};
use sortie_testkit::{image, poll, programs};
use sortie_tests::archive;
use sortie_tests::commands::{self, Command, Place};

/// How long what a command looks for may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// In commands that only look: what they are to show may come a little later.
const LOOKS: [&str; 2] = [" exec ", " get "];

/// Where commands are typed.
pub(crate) struct Desk {
    shell: Shell,
    folder: PathBuf,
}

impl Desk {
    pub(crate) fn new(cluster: &Cluster) -> Result<Self> {
        let folder = cluster.site.net().scratch().folder("desk")?;
        let install = programs::workspace().join("install");
        let copied = std::process::Command::new("cp").arg("-r").arg(&install).arg(&folder).status();
        ensure!(copied.context("cannot start cp")?.success(), "{} cannot be copied", install.display());
        Ok(Self { shell: cluster.api.shell(&folder)?, folder })
    }

    /// Runs the commands that are marked with `name` in a document, and compares what they print.
    pub(crate) fn follow(&self, cluster: &Cluster, (document, name): (&str, &str)) -> Result<()> {
        let started = Instant::now();
        for command in commands::read(&programs::workspace().join(document), name)? {
            let first = command.line.lines().next().unwrap_or_default();
            eprintln!("{:>7} ms  {document}: {first}", started.elapsed().as_millis());
            self.run(cluster, &command).with_context(|| cluster.account())?;
        }
        Ok(())
    }

    fn run(&self, cluster: &Cluster, command: &Command) -> Result<()> {
        let line = command.line.as_str();
        match (command.place, &command.prints) {
            (Place::Desk, _) if line == "make image" => self.make_image(cluster),
            (Place::Desk, None) => self.shell.run(line).map(drop),
            (Place::Desk, Some(prints)) => self.prints(line, prints),
            (Place::EachNode, None) => {
                cluster.nodes.iter().try_for_each(|node| node.shell(&self.folder)?.run(line).map(drop))
            }
            (Place::EachNode, Some(_)) => bail!("{line}: several nodes print something"),
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
    fn make_image(&self, cluster: &Cluster) -> Result<()> {
        let scratch = cluster.site.net().scratch();
        let (root, folder) = (scratch.folder("product")?, scratch.folder("desk/target/image")?);
        archive::fill(&root)?;
        let name = concat!("sortie-", env!("CARGO_PKG_VERSION"), "-amd64.tar");
        image::pack(&root, (archive::IMAGE, archive::RUNS), &folder.join(name))
    }
}
