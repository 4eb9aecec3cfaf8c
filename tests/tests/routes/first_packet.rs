//! From the pod's first packet on.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::{PATIENCE, server4, server6};
use sortie_testkit::{Capture, Captured, Flow, PodSpec, Stream, until};
use sortie_tests::expect::leaves_by_soon;
use sortie_tests::{Scene, scenario};

/// Packets each process sends.
const COUNT: usize = 40;

/// A process that starts right after ADD sends as fast as it can, in both families; every packet is at the right router
/// with the right source, none at another.
#[test]
fn the_first_packet_of_a_pod_leaves_by_its_route() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let (right, wrong) = (Capture::start(lab.router("b"))?, Capture::start(lab.router("a"))?);
        let mut sandboxes = Vec::new();
        for number in 0..8 {
            sandboxes.push(scene.cni.sandbox(PodSpec::new(&format!("p{number}")).with("route", "b"))?);
        }
        for pod in &mut sandboxes {
            let mut blast = Command::new(env!("CARGO_BIN_EXE_probe"));
            blast.args(["blast", &COUNT.to_string(), "5060", &server4(7000).to_string(), &server6(7000).to_string()]);
            scene.cni.add(pod)?;
            let status =
                pod.namespace.spawn(blast.stdin(Stdio::null()))?.wait().context("cannot wait for the blast")?;
            ensure!(status.success(), "the blast ended with {status}");
        }
        let sent = sandboxes.len() * COUNT * 2;
        let at = |capture: &Capture| capture.count(is_blast).unwrap_or(0);
        until(PATIENCE, "every packet at the right router", || at(&right) >= sent)?;
        assert_eq!(at(&wrong), 0, "packets at the wrong router");
        let own = |c: &Captured| is_blast(c) && sandboxes.iter().any(|pod| pod.addresses.contains(&c.packet.source));
        assert_eq!(right.count(own)?, 0, "packets with the pod's own source");
        Ok(())
    })
}

/// Something in the pod's namespace sends before and during ADD, which no process of a pod can: from the moment ADD has
/// returned nothing leaks, and new flows leave by the route.
#[test]
fn a_flow_that_is_older_than_add_does_not_leak_after_it() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let (right, wrong) = (Capture::start(lab.router("b"))?, Capture::start(lab.router("a"))?);
        let mut pod = scene.cni.sandbox(PodSpec::new("early").with("route", "b"))?;
        let flows = [Flow::udp(5060, server4(7000)), Flow::udp(5060, server6(7000))];
        let stream = Stream::start(&pod.namespace, &flows, Duration::from_millis(1))?;
        scene.cni.add(&mut pod)?;
        wrong.clear()?;
        stream.sent(200, PATIENCE)?;
        for to in [server4(7000), server6(7000)] {
            // The older flow fills the pod's own queues: a request may be lost there.
            leaves_by_soon(&pod.namespace, Flow::udp(5061, to), "b")?;
        }
        drop(stream);
        assert_eq!(wrong.count(is_blast)?, 0, "packets at the wrong router");
        assert_eq!(right.count(|c| is_blast(c) && pod.addresses.contains(&c.packet.source))?, 0);
        Ok(())
    })
}

fn is_blast(c: &Captured) -> bool {
    c.device == "node" && c.is_incoming && c.packet.destination_port == 7000
}
