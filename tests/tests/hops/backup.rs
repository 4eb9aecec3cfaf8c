//! A next hop in reserve, and probes that say when it is needed.

use anyhow::Result;
use sortie_testkit::lab::{GATEWAY4, GATEWAY6, Lab, NODE6, servers};
use sortie_testkit::{Capture, Captured, Flow, Transport, manifest};
use sortie_tests::expect::{leaves_by, leaves_by_soon};
use sortie_tests::scene::SOON;
use sortie_tests::{Scene, scenario};

fn with_backup(lab: &Lab, health: &str) -> Result<()> {
    let hops = format!("{}, {}", manifest::hops("b", ""), manifest::hops("c", ", backup: true"));
    lab.manifest("safe.yaml", &manifest::route_with("safe", &hops, health))
}

/// New flows of every protocol and family leave by `router`; none strays to the default one.
fn all_leave_by(lab: &Lab, (pod, router): (&sortie_testkit::Pod, &str), port: u16) -> Result<()> {
    for to in servers(7000) {
        leaves_by_soon(&pod.namespace, Flow::udp(port, to), router)?;
        for transport in Transport::ALL {
            leaves_by(lab, &pod.namespace, Flow { transport, port: port + 1, to }, router)?;
        }
    }
    Ok(())
}

fn is_selected(c: &Captured) -> bool {
    c.device == "node" && c.is_incoming && c.packet.destination_port == 7000
}

/// The router goes silent while its link stays up: it drops everything that is addressed to itself.
fn silence(lab: &Lab) -> Result<()> {
    let router = lab.router("b");
    router.ip(&format!("addr del {}/24 dev node\naddr del {}/64 dev node", GATEWAY4[1], GATEWAY6[1]))
}

fn speak(lab: &Lab) -> Result<()> {
    lab.router("b").ip(&format!(
        "addr add {}/24 dev node\naddr add {}/64 dev node nodad\n\
         route replace 10.244.0.0/16 via 172.16.1.11\n-6 route replace fd00:244::/32 via {}",
        GATEWAY4[1], GATEWAY6[1], NODE6[1]
    ))
}

fn probed(mode: &str) -> Result<()> {
    scenario(|lab| {
        with_backup(lab, &format!("  health: {{mode: {mode}, intervalMilliseconds: 100, failures: 2}}\n"))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("safe", "safe")?;
        let wrong = Capture::start(lab.router("a"))?;
        all_leave_by(lab, (&pod, "b"), 4000)?;
        silence(lab)?;
        scene.helper.await_condition(SOON, "NextHopUnreachable")?;
        all_leave_by(lab, (&pod, "c"), 4010)?;
        speak(lab)?;
        all_leave_by(lab, (&pod, "b"), 4020)?;
        assert_eq!(wrong.count(is_selected)?, 0, "a flow strayed to the default router");
        Ok(())
    })
}

#[test]
fn a_next_hop_that_answers_no_arp_is_replaced_and_comes_back() -> Result<()> {
    probed("Neighbour")
}

#[test]
fn a_next_hop_that_answers_no_echo_is_replaced_and_comes_back() -> Result<()> {
    probed("Icmp")
}

#[test]
fn the_backup_serves_while_the_device_is_down_without_any_probe() -> Result<()> {
    scenario(|lab| {
        with_backup(lab, "")?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("safe", "safe")?;
        let wrong = Capture::start(lab.router("a"))?;
        all_leave_by(lab, (&pod, "b"), 4000)?;
        lab.node.ip("link set dev eth1 down")?;
        all_leave_by(lab, (&pod, "c"), 4010)?;
        lab.node.ip(&format!("link set dev eth1 up\naddr add {}/64 dev eth1 nodad", NODE6[1]))?;
        all_leave_by(lab, (&pod, "b"), 4020)?;
        assert_eq!(wrong.count(is_selected)?, 0, "a flow strayed to the default router");
        Ok(())
    })
}
