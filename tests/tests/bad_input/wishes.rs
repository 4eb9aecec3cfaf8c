//! What pods and objects may ask for.

use anyhow::{Result, ensure};
use sortie_testkit::lab::{server4, server6};
use sortie_testkit::{Flow, PodSpec, kernel, manifest};
use sortie_tests::expect::leaves_by;
use sortie_tests::scene::SOON;
use sortie_tests::{Scene, scenario};

/// ADD fails with a text that holds every one of `named`, and leaves nothing.
fn refused(scene: &Scene<'_>, spec: PodSpec, named: &[&str]) -> Result<()> {
    let before = kernel::own_state(&scene.lab.node)?;
    let name = spec.name.clone();
    let Err(error) = scene.cni.pod(spec) else { anyhow::bail!("{name}: ADD succeeded") };
    // What stands before is the command line, which holds the annotations.
    let text = format!("{error:#}");
    let text = text.split_once("ended with").map_or("", |(_, said)| said);
    for word in named {
        ensure!(text.contains(word), "{name}: expected {word:?} in {text}");
    }
    let after = kernel::own_state(&scene.lab.node)?;
    ensure!(after == before, "{name}: {:?}", after.symmetric_difference(&before).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_wish_that_cannot_be_granted_fails_the_pod_with_object_field_and_remedy() -> Result<()> {
    scenario(|lab| {
        let closed = manifest::route("b").replace("name: b", "name: closed");
        let closed = closed.replace("{from: All}", "{from: Selector, selector: {matchLabels: {network: telco}}}");
        lab.manifest("closed.yaml", &closed)?;
        let scene = Scene::new(lab, &["--steering", "rules"])?;
        let running = scene.pod_by("running", "b")?;
        let spec = |name: &str| PodSpec::new(name);
        refused(&scene, spec("lost").with("route", "nowhere"), &["nowhere", "does not exist"])?;
        refused(&scene, spec("barred").with("route", "closed"), &["closed", "default", "allowedNamespaces"])?;
        refused(
            &scene,
            spec("odd").with("route", "b").with("rout", "b"),
            &["sortie.dev/rout:", "not a known annotation"],
        )?;
        refused(&scene, spec("port").with("route", "b").with("ports", "udp:99999"), &["sortie.dev/ports", "99999"])?;
        refused(&scene, spec("icmp").with("route", "b").with("ports", "icmp:1"), &["sortie.dev/ports", "icmp"])?;
        refused(&scene, spec("source").with("route", "b").with("source", "moon"), &["sortie.dev/source", "moon"])?;
        refused(
            &scene,
            spec("net").with("route", "b").with("destinations", "10.0.0.0/40"),
            &["sortie.dev/destinations"],
        )?;
        refused(&scene, spec("json").with("routes", "[{"), &["sortie.dev/routes"])?;
        let twice = r#"[{"route": "b", "ports": [{"protocol": "UDP", "port": 5060}]}, {"route": "c", "ports": [{"protocol": "UDP", "port": 5060}]}]"#;
        refused(&scene, spec("twice").with("routes", twice), &["5060", "b", "c"])?;
        for to in [server4(7000), server6(7000)] {
            leaves_by(lab, &running.namespace, Flow::udp(5060, to), "b")?;
        }
        Ok(())
    })
}

#[test]
fn a_route_that_contradicts_itself_is_refused_by_field() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let running = scene.pod_by("running", "b")?;
        let hop = "{gateway: 172.16.1.1, device: eth1}";
        let cases = [
            (manifest::route_with("wrong", hop, "  destinations: [\"2001:db8::/32\"]\n"), "destinations"),
            (manifest::route_with("wrong", &format!("{hop}, {hop}"), ""), "nextHops[1]"),
            (manifest::route_with("wrong", "{weight: 2}", ""), "nextHops[0]"),
            (manifest::route_with("wrong", "{gateway: 172.16.1.1, device: \"a b\"}", ""), "device"),
            (manifest::route_with("wrong", "{gateway: 127.0.0.1}", ""), "gateway"),
            (manifest::route_with("wrong", hop, "  tableId: 254\n"), "tableId"),
            (manifest::route_with("wrong", hop, "  mtu: 100\n"), "mtu"),
            (manifest::route_with("wrong", hop, "  health: {mode: Guess}\n"), "health.mode"),
        ];
        for (text, field) in cases {
            lab.manifest("wrong.yaml", &text)?;
            let condition = scene.helper.await_condition(SOON, field)?;
            ensure!(condition.contains("wrong") && condition.contains("Accepted=False"), "{condition}");
        }
        let gateway_in_pods = manifest::route_with("wrong", "{gateway: 10.244.1.9, device: eth1}", "");
        lab.manifest("wrong.yaml", &gateway_in_pods)?;
        scene.helper.await_condition(SOON, "10.244.1.9")?;
        for to in [server4(7000), server6(7000)] {
            leaves_by(lab, &running.namespace, Flow::udp(5060, to), "b")?;
        }
        Ok(())
    })
}

#[test]
fn a_pod_outside_every_network_of_the_cluster_is_told_which_flag_is_missing() -> Result<()> {
    scenario(|lab| {
        let other = manifest::node().replace("10.244.1.0/24", "10.245.1.0/24").replace("fd00:244:1::", "fd00:245:1::");
        lab.manifest("node.yaml", &other)?;
        let scene = Scene::new(lab, &[])?;
        refused(&scene, PodSpec::new("strange").with("route", "b"), &["10.244.1.", "--cluster-cidr"])?;
        scene.plain_pod("plain").map(drop)
    })
}
