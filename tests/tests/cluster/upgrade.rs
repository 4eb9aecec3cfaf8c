//! Another version of the DaemonSet, and back.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sortie_tests::archive;

use crate::life::{Life, NODES};
use crate::product::SYSTEM;

/// Name of the other version: the programs under test with another plugin, which has bytes at its end that nobody runs.
const NEXT: &str = "sortie.dev/sortie:next";
/// As `install/README.md` sets another name.
const OVER: &str = "resources: [../tainted]\nimages:\n- {name: sortie.dev/sortie, newTag: next}\n";

/// Fills a folder with the other version's image.
fn next(root: &Path) -> Result<()> {
    archive::fill(root)?;
    let mut plugin = std::fs::File::options().append(true).open(root.join("sortie")).context("no plugin")?;
    plugin.write_all(b"next").context("cannot write")
}

pub(crate) fn an_upgrade_and_its_rollback_break_no_flow_and_no_start(life: &mut Life) -> Result<()> {
    let scratch = life.product.cluster.site.net().scratch();
    let root = scratch.folder("next")?;
    next(&root)?;
    life.product.cluster.load(&root, (NEXT, archive::RUNS))?;
    life.overlay("next", OVER)?;
    let shell = life.product.cluster.api.shell(&life.desk)?;
    let plugin = std::fs::read(life.product.disk(1, "opt/cni/bin/sortie")?).context("no plugin")?;
    let other = std::fs::read(root.join("sortie")).context("no plugin")?;
    ensure!(plugin != other, "both versions have one plugin");
    let before = life.restarts()?;
    for (folder, image, plugin) in [("next", NEXT, other), ("tainted", archive::IMAGE, plugin)] {
        shell.run(&format!("kubectl apply -k {folder}"))?;
        // Pods come and go meanwhile.
        life.product.kubectl.run(&["rollout", "restart", "deployment/sip"])?;
        life.product.cluster.rolled_out(&["daemonset/sortie", "-n", SYSTEM])?;
        life.product.rolled_out("sip")?;
        life.all_go_on()?;
        life.no_connection_broke(&before)?;
        every_node_runs(life, image, &plugin)?;
        life.says(image)?;
    }
    Ok(())
}

fn every_node_runs(life: &Life, image: &str, plugin: &[u8]) -> Result<()> {
    let path = "jsonpath={.items[*].status.containerStatuses[*].image}";
    let words = ["-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/name=sortie", "-o", path];
    let images = life.product.kubectl.run(&words)?;
    ensure!(images.split(' ').count() == 6 && images.split(' ').all(|one| one == image), "images: {images}");
    for node in NODES {
        let found = std::fs::read(life.product.disk(node, "opt/cni/bin/sortie")?).context("no plugin")?;
        ensure!(found == plugin, "n{node} has another plugin");
    }
    Ok(())
}
