//! Real containers: containerd and runc call the chain, as on a kube node.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;
use sortie_testkit::containerd::Containerd;
use sortie_testkit::lab::{server4, server6};
use sortie_testkit::{Capture, Captured, Helper, Lab, Main, Network, kernel};
use sortie_tests::scenario;

fn probe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_probe"))
}

fn start(lab: &Lab) -> Result<(Helper<'_>, Containerd<'_>)> {
    Network::new(lab, Main::Bridge)?.portmap().write()?;
    Ok((Helper::start(lab, &[])?, Containerd::start(lab, probe())?))
}

#[test]
fn the_first_packet_of_a_containers_own_process_leaves_by_the_route_its_annotation_names() -> Result<()> {
    scenario(|lab| {
        let (_helper, containerd) = start(lab)?;
        let wrong = Capture::start(lab.router("a"))?;
        let annotations = json!({"sortie.dev/route": "b", "sortie.dev/ports": "udp:5060"});
        let (chosen, plain) = (containerd.sandbox("chosen", &annotations)?, containerd.sandbox("plain", &json!({}))?);
        for (family, to, own) in [("four", server4(7000), "172.16.1.11"), ("six", server6(7000), "[fd00:16::11]")] {
            let said = containerd.run(&chosen, family, &["ask", "5060", &to.to_string()])?;
            assert_eq!(said, format!("b {own}:5060"));
        }
        let strayed = |c: &Captured| c.device == "node" && c.packet.destination_port == 7000;
        assert_eq!(wrong.count(strayed)?, 0);
        let said = containerd.run(&chosen, "other", &["ask", "5061", &server4(7000).to_string()])?;
        assert_eq!(said, "a 10.10.0.11:5061");
        let said = containerd.run(&plain, "plain", &["ask", "5060", &server4(7000).to_string()])?;
        assert_eq!(said, "a 10.10.0.11:5060");
        containerd.stop(&chosen)?;
        containerd.stop(&plain)?;
        ensure!(kernel::elements(&lab.node, "pods4")?.is_empty(), "an address is left in pods4");
        Ok(())
    })
}

#[test]
fn a_pod_that_asks_for_an_unknown_route_does_not_start_and_the_runtime_is_told_why() -> Result<()> {
    scenario(|lab| {
        let (_helper, containerd) = start(lab)?;
        let refused = containerd.sandbox("lost", &json!({"sortie.dev/route": "nowhere"}));
        let said = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(said.contains("nowhere") && said.contains("does not exist"), "{said}");
        let next = containerd.sandbox("found", &json!({"sortie.dev/route": "c"}))?;
        let said = containerd.run(&next, "ask", &["ask", "5060", &server4(7000).to_string()])?;
        assert_eq!(said, "c 172.16.2.11:5060");
        containerd.stop(&next)
    })
}
