//! Datagrams larger than the path.

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::{PATIENCE, servers};
use sortie_testkit::probe::udp_socket;
use sortie_testkit::{Capture, Captured, PodSpec};
use sortie_tests::{Scene, scenario};

/// Bytes of a datagram that needs three fragments.
const LARGE: usize = 4000;

#[test]
fn every_fragment_of_a_large_datagram_leaves_by_the_route() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let pod = scene.cni.pod(PodSpec::new("large").with("route", "b").with("ports", "udp:5060"))?;
        let (right, wrong) = (Capture::start(lab.router("b"))?, Capture::start(lab.router("a"))?);
        for to in servers(7000) {
            let answer = pod.namespace.with(|| {
                let any = if to.is_ipv4() { "0.0.0.0:5060" } else { "[::]:5060" };
                let socket = udp_socket(any.parse()?)?;
                socket.set_read_timeout(Some(PATIENCE)).context("cannot set a time limit")?;
                socket.send_to(&[b'?'; LARGE], to).context("cannot send")?;
                let mut buffer = [0; 256];
                let length = socket.recv(&mut buffer).context("no answer")?;
                Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
            })?;
            ensure!(answer.starts_with("b "), "{to}: {answer}");
            let is_piece = |c: &Captured| c.device == "node" && c.is_incoming && c.packet.destination == to.ip();
            assert_eq!(wrong.count(is_piece)?, 0);
            assert!(right.count(|c| is_piece(c) && c.packet.is_fragment)? >= 3, "{to}: it was not sent in fragments");
        }
        Ok(())
    })
}
