//! The folder of manifests: what is spoilt keeps its last good state, what is half written does not count.

use anyhow::{Result, ensure};
use sortie_testkit::lab::{server4, server6};
use sortie_testkit::{Flow, kernel, manifest};
use sortie_tests::expect::{leaves_by, leaves_by_soon};
use sortie_tests::scene::SOON;
use sortie_tests::{Scene, scenario};

const FLOWS: fn() -> [Flow; 2] = || [Flow::udp(5060, server4(7000)), Flow::tcp(5060, server6(7000))];

#[test]
fn a_spoilt_manifest_keeps_its_last_good_state_and_is_named_with_line_and_field() -> Result<()> {
    scenario(|lab| {
        let mut scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("chosen", "b")?;
        let before = kernel::own_state(&lab.node)?;
        let good = manifest::all(&[manifest::route("b"), manifest::route("c")]);
        let spoilt = [
            (good.replace("spec:\n", "spec: [\n"), "routes.yaml"),
            (good.replacen("gateway: 172.16.1.1", "gateway: 172.16.1.999", 1), "spec.nextHops[0].gateway"),
            (good.replacen("nextHops", "nextHopz", 1), "nextHopz"),
            (good.replacen("{from: All}", "{from: Some}", 1), "allowedNamespaces"),
        ];
        for (text, named) in spoilt {
            lab.manifest("routes.yaml", &text)?;
            let condition = scene.helper.await_condition(SOON, named)?;
            ensure!(condition.contains("routes.yaml") && condition.contains("Accepted=False"), "{condition}");
            for flow in FLOWS() {
                leaves_by(lab, &pod.namespace, flow, "b")?;
            }
            assert_eq!(kernel::own_state(&lab.node)?, before, "{named}");
        }
        // Also over a restart.
        scene.helper.kill9()?;
        scene.helper.restart()?;
        assert_eq!(kernel::own_state(&lab.node)?, before);
        for flow in FLOWS() {
            leaves_by(lab, &pod.namespace, flow, "b")?;
        }
        lab.manifest("routes.yaml", &good)?;
        scene.helper.await_status(SOON, "no complaint", |status| !status.to_string().contains("Accepted=False"))?;
        Ok(())
    })
}

#[test]
fn a_file_that_is_written_in_pieces_counts_when_it_is_whole() -> Result<()> {
    scenario(|lab| {
        use std::io::Write as _;

        let scene = Scene::new(lab, &[])?;
        let pod = scene.plain_pod("pod")?;
        let text = manifest::policy("default", "all", "podSelector: {}, route: b");
        let mut file = std::fs::File::create(lab.path("manifests").join("policy.yaml"))?;
        for piece in text.as_bytes().chunks(30) {
            file.write_all(piece)?;
            file.sync_all()?;
        }
        drop(file);
        for flow in FLOWS() {
            leaves_by_soon(&pod.namespace, flow, "b")?;
        }
        Ok(())
    })
}

#[test]
fn files_may_be_renamed_and_objects_may_move_between_them() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("chosen", "b")?;
        let before = kernel::own_state(&lab.node)?;
        let folder = lab.path("manifests");
        std::fs::rename(folder.join("routes.yaml"), folder.join("other.yml"))?;
        lab.manifest("b.yaml", &manifest::route("b"))?;
        lab.manifest("other.yml", &manifest::route("c"))?;
        std::fs::write(folder.join("notes.txt"), "kind: Nonsense")?;
        scene.helper.await_status(SOON, "a calm helper", |status| status["ready"] == true)?;
        for flow in FLOWS() {
            leaves_by(lab, &pod.namespace, flow, "b")?;
        }
        sortie_testkit::until(SOON, "the state as before", || {
            kernel::own_state(&lab.node).is_ok_and(|now| now == before)
        })
    })
}

#[test]
fn one_bad_object_does_not_stop_the_others() -> Result<()> {
    scenario(|lab| {
        let bad = manifest::policy("default", "bad", "podSelector: {}, route: b, ports: [{protocol: ICMP, port: 1}]");
        let good = manifest::policy("default", "good", "podSelector: {}, route: c");
        lab.manifest("policies.yaml", &manifest::all(&[bad, good]))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.plain_pod("pod")?;
        for flow in FLOWS() {
            leaves_by(lab, &pod.namespace, flow, "c")?;
        }
        let condition = scene.helper.await_condition(SOON, "default/bad")?;
        ensure!(condition.contains("protocol"), "{condition}");
        Ok(())
    })
}
