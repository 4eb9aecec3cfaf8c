//! Numbers of nodes.

use anyhow::Result;
use serde_json::{Value, json};
use sortie_testkit::helper::NODE;
use sortie_testkit::{poll, until};
use sortie_tests::api::SYSTEM;
use sortie_tests::scene::SOON;

use super::with_api;

#[test]
fn a_node_takes_the_smallest_free_number_and_keeps_it() -> Result<()> {
    with_api(|_, scene| {
        for (number, holder) in [(1, "first"), (3, "third")] {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": format!("sortie-node-{number}"), "namespace": SYSTEM, "labels": {"sortie.dev/lease": "node"}},
                "spec": {"holderIdentity": holder},
            });
            scene.admin.apply(&lease.to_string())?;
        }
        let mut helper = scene.helper()?;
        let mine = || -> Option<Value> { scene.admin.get(&["lease", "--namespace", SYSTEM, "sortie-node-2"]).ok() };
        let lease = poll(SOON, "the Lease of this node", mine)?;
        assert_eq!(lease["spec"]["holderIdentity"], NODE);
        assert_eq!(lease["metadata"]["ownerReferences"][0]["name"], NODE, "it goes with its Node");
        scene.admin.run(&["delete", "lease", "--namespace", SYSTEM, "sortie-node-1"])?;
        helper.kill9()?;
        std::fs::remove_file(scene.lab.path("helper.log"))?;
        helper.restart()?;
        until(SOON, "the helper to know all numbers", || helper.log().contains("numbers of nodes {\"node1\": 2"))?;
        let of_this_node = scene.admin.get(&["lease", "--namespace", SYSTEM, "-l", "sortie.dev/lease=node"])?;
        let names =
            of_this_node["items"].as_array().into_iter().flatten().map(|lease| lease["metadata"]["name"].clone());
        assert_eq!(names.collect::<Vec<_>>(), ["sortie-node-2", "sortie-node-3"]);
        Ok(())
    })
}
