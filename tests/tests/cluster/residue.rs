//! What the product could leave on a node.

use anyhow::{Context, Result, ensure};
use sortie_testkit::kube::Cluster;

/// The CNI configuration of a node.
pub(crate) fn conflist(cluster: &Cluster, node: usize) -> Result<String> {
    let path = cluster.node(node)?.disk().join("cni/net.d/10-pods.conflist");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Fails when something of the product is on a node whose CNI configuration was `conflist_before`.
pub(crate) fn nothing_is_left(cluster: &Cluster, node: usize, conflist_before: &str) -> Result<()> {
    assert_eq!(conflist(cluster, node)?, conflist_before);
    let node = cluster.node(node)?;
    for path in ["opt/cni/bin/sortie", "lib/sortie"] {
        ensure!(!node.disk().join(path).exists(), "{path} is left on {}", node.name());
    }
    let (inside, name) = (node.inside()?, node.name());
    let asked: [(&str, &[&str]); 5] = [
        ("ls", &["/run"]),
        ("ip", &["rule", "show"]),
        ("ip", &["-6", "rule", "show"]),
        ("ip", &["route", "show", "table", "all"]),
        ("ip", &["-6", "route", "show", "table", "all"]),
    ];
    for (program, words) in asked {
        let said = inside.run(program, words)?;
        ensure!(!said.contains("sortie") && !said.contains("proto 155"), "{program} {words:?} on {name}: {said}");
    }
    let tables = inside.run("nft", &["list", "tables"])?;
    ensure!(!tables.contains("sortie"), "tables on {name}: {tables}");
    let devices = inside.run("ip", &["-o", "link"])?;
    ensure!(!devices.contains("sor0"), "devices on {name}: {devices}");
    Ok(())
}
