//! What remains at the end, and what was never ours.

use anyhow::{Result, ensure};
use sortie_testkit::{Flow, Lab, helper, kernel, lab};
use sortie_tests::expect::{leaves_by, leaves_by_soon};
use sortie_tests::scene::SOON;
use sortie_tests::{Scene, scenario};

/// Rules, routes and tables of somebody else, some of them close to ours.
fn strangers(lab: &Lab) -> Result<()> {
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

/// The strangers' state as the tools print it, and all routing rules but ours.
fn printed(lab: &Lab) -> Result<String> {
    let commands = [
        "ip route show table 9000",
        "ip route show table 12000",
        "nft list table inet stranger",
        "ip -6 rule",
        "ip rule",
        "ip route show table main",
        "sysctl -a --pattern src_valid_mark",
    ];
    let mut text = String::new();
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        text += &lab.node.run(words[0], &words[1..])?;
    }
    let is_kept = |line: &&str| !line.contains("proto 155") && !["cni0", "veth"].iter().any(|d| line.contains(d));
    Ok(text.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect())
}

#[test]
fn uninstall_leaves_nothing_and_strangers_are_as_they_were() -> Result<()> {
    scenario(|lab| {
        strangers(lab)?;
        let before = printed(lab)?;
        let mut scene = Scene::new(lab, &["--steering", "rules"])?;
        let pod = scene.pod_by("last", "b")?;
        leaves_by(lab, &pod.namespace, Flow::udp(5060, lab::server4(7000)), "b")?;
        let without_marks = |text: &str| text.replace("src_valid_mark = 1", "src_valid_mark = 0");
        assert_eq!(without_marks(&printed(lab)?), without_marks(&before), "while we run");
        lab.node.run("sh", &["-c", "nft delete table inet sortie; ip rule flush protocol 155"])?;
        scene.helper.await_status(SOON, "true", |status| status["ready"] == true)?;
        leaves_by_soon(&pod.namespace, Flow::udp(5060, lab::server4(7000)), "b")?;
        assert_eq!(without_marks(&printed(lab)?), without_marks(&before), "after a repair");
        scene.cni.del(&pod)?;
        scene.helper.stop()?;
        ensure!(!kernel::own_state(&lab.node)?.is_empty(), "the helper took its state along");
        helper::uninstall(lab)?;
        let own = kernel::own_state(&lab.node)?;
        ensure!(own.is_empty(), "left after uninstall: {own:#?}");
        assert_eq!(printed(lab)?, before, "after uninstall");
        Ok(())
    })
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
