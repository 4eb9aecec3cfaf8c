//! What remains at the end, and what was never ours.

use anyhow::{Result, ensure};
use sortie_testkit::{Flow, helper, kernel, lab};
use sortie_tests::expect::leaves_by;
use sortie_tests::{Scene, scenario};

/// Rules, routes and tables of somebody else, some of them close to ours.
fn strangers(lab: &sortie_testkit::Lab) -> Result<()> {
    lab.node.ip("rule add pref 1250 from 198.18.0.0/15 lookup 9000 protocol 99\n\
         rule add pref 1350 fwmark 0x40000/0x40000 lookup 9000 protocol 4\n\
         rule add pref 20000 from 198.18.0.0/15 lookup 12000\n\
         route add 198.18.0.0/15 via 10.10.0.1 table 9000\n\
         route add blackhole 198.18.0.0/15 table 12000")?;
    lab.node.nft(
        "table inet stranger {\n\
         chain c {\n type filter hook prerouting priority -90; policy accept;\n ip saddr 198.18.0.1 counter\n }\n}\n",
    )
}

#[test]
fn uninstall_leaves_nothing_and_strangers_are_as_they_were() -> Result<()> {
    scenario(|lab| {
        strangers(lab)?;
        let before = kernel::snapshot(&lab.node)?;
        let mut scene = Scene::new(lab, &["--steering", "rules"])?;
        let pod = scene.pod_by("last", "b")?;
        leaves_by(lab, &pod.namespace, Flow::udp(5060, lab::server4(7000)), "b")?;
        scene.cni.del(&pod)?;
        scene.helper.stop()?;
        ensure!(!kernel::own_state(&lab.node)?.is_empty(), "the helper took its state along");
        helper::uninstall(lab)?;
        let own = kernel::own_state(&lab.node)?;
        ensure!(own.is_empty(), "left after uninstall: {own:#?}");
        let ours = |line: &String| !line.contains("cni0") && !line.contains("veth") && !line.contains("10.244.1.1");
        let mut changed = kernel::difference(&before, &kernel::snapshot(&lab.node)?);
        changed.retain(ours);
        let strange: Vec<&String> =
            changed.iter().filter(|l| is_about_strangers(l) || l.contains("src_valid_mark")).collect();
        ensure!(strange.is_empty(), "changed: {strange:#?}");
        Ok(())
    })
}

fn is_about_strangers(line: &str) -> bool {
    ["198.18.", "stranger", "9000", "12000", "0x40000", "proto 155", "sortie"].iter().any(|word| line.contains(word))
}

#[test]
fn a_restart_changes_nothing_in_the_kernel() -> Result<()> {
    scenario(|lab| {
        let mut scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("kept", "b")?;
        let flow = Flow::udp(5060, lab::server4(7000));
        leaves_by(lab, &pod.namespace, flow, "b")?;
        let before = kernel::own_state(&lab.node)?;
        for _ in 0..3 {
            scene.helper.kill9()?;
            scene.helper.restart()?;
        }
        let changed = kernel::own_state(&lab.node)?;
        ensure!(changed == before, "changed: {:#?}", changed.symmetric_difference(&before).collect::<Vec<_>>());
        leaves_by(lab, &pod.namespace, flow, "b")
    })
}
