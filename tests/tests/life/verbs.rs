//! DEL, CHECK and GC through `cnitool`.

use anyhow::{Context, Result, ensure};
use sortie_testkit::{Flow, PodSpec, kernel, lab};
use sortie_tests::expect::{is_dropped_soon, leaves_by, leaves_by_soon};
use sortie_tests::{Scene, scenario};

fn sip(name: &str) -> PodSpec {
    PodSpec::new(name).with("route", "b").with("ports", "udp:5060")
}

/// Rules of the pod and elements of its addresses, as the kernel tells them.
fn traces(scene: &Scene<'_>, pod: &sortie_testkit::Pod) -> Result<Vec<String>> {
    let node = &scene.lab.node;
    let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
    let state = kernel::own_state(node)?;
    Ok(state.into_iter().filter(|line| addresses.iter().any(|a| line.contains(&format!("\"{a}\"")))).collect())
}

#[test]
fn del_takes_everything_with_it_and_succeeds_twice() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let pod = scene.cni.pod(sip("once"))?;
        ensure!(!traces(&scene, &pod)?.is_empty(), "the attached pod has no traces to remove");
        scene.cni.del(&pod)?;
        scene.cni.del(&pod)?;
        let left = traces(&scene, &pod)?;
        ensure!(left.is_empty(), "left after DEL: {left:#?}");
        let tracked = kernel::connections(&lab.node, &pod.ip4()?.to_string())?;
        ensure!(tracked.is_empty(), "tracked after DEL: {tracked:#?}");
        Ok(())
    })
}

#[test]
fn del_succeeds_when_the_namespace_is_gone() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let pod = scene.cni.pod(sip("gone"))?;
        lab.net().remove(&pod.namespace);
        scene.cni.del(&pod)?;
        let left = traces(&scene, &pod)?;
        ensure!(left.is_empty(), "left after DEL: {left:#?}");
        Ok(())
    })
}

#[test]
fn del_without_the_helper_frees_the_address_for_the_next_pod() -> Result<()> {
    scenario(|lab| {
        let mut scene = Scene::new(lab, &[])?;
        let pod = scene.cni.pod(sip("orphan"))?;
        scene.helper.kill9()?;
        scene.cni.del(&pod)?;
        let left = traces(&scene, &pod)?;
        ensure!(left.is_empty(), "left after DEL without the helper: {left:#?}");
        scene.helper.restart()?;
        let status = scene.helper.status()?;
        ensure!(status["attachments"] == 0, "the helper still knows an attachment: {status}");
        Ok(())
    })
}

#[test]
fn check_names_a_rule_that_was_removed_while_nobody_could_repair_it() -> Result<()> {
    scenario(|lab| {
        let mut scene = Scene::new(lab, &["--steering", "rules"])?;
        let pod = scene.cni.pod(sip("checked"))?;
        scene.cni.check(&pod)?;
        scene.helper.kill9()?;
        lab.node.ip(&format!("rule del pref 1300 from {} ipproto udp sport 5060", pod.ip4()?))?;
        let refusal = scene.cni.check(&pod).err().context("CHECK found nothing")?;
        let text = format!("{refusal:#}");
        ensure!(text.contains("rule is missing: pref 1300 from") && text.contains("sport 5060"), "{text}");
        scene.helper.restart()?;
        scene.cni.check(&pod)
    })
}

#[test]
fn the_helper_repairs_a_removed_rule_by_itself() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &["--steering", "rules"])?;
        let pod = scene.cni.pod(sip("repaired"))?;
        let before = kernel::own_state(&lab.node)?;
        lab.node.ip(&format!("rule del pref 1310 from {} ipproto udp sport 5060", pod.ip4()?))?;
        sortie_testkit::until(sortie_tests::scene::SOON, "the rule to come back", || {
            kernel::own_state(&lab.node).is_ok_and(|now| now == before)
        })
    })
}

#[test]
fn a_running_pod_follows_its_route_when_the_route_goes_and_comes_back() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("edited", "b")?;
        let flow = Flow::udp(5060, lab::server4(7000));
        leaves_by(lab, &pod.namespace, flow, "b")?;
        let route = sortie_testkit::manifest::route;
        lab.manifest("routes.yaml", &route("c"))?;
        is_dropped_soon(&pod.namespace, flow)?;
        lab.manifest("routes.yaml", &sortie_testkit::manifest::all(&[route("b"), route("c")]))?;
        leaves_by_soon(&pod.namespace, flow, "b")
    })
}
