//! An edit touches the flows whose assignment it changes, and no other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::{server4, server6};
use sortie_testkit::{Capture, Captured, Flow, PodSpec, Stream, manifest};
use sortie_tests::expect::{is_dropped_soon, leaves_as_soon, leaves_by, leaves_by_soon};
use sortie_tests::scene::SOON;
use sortie_tests::{Scene, scenario};

const PACE: Duration = Duration::from_millis(3);

fn policies(media: &str) -> String {
    let sip = "podSelector: {}, route: b, ports: [{protocol: UDP, port: 5060}, {protocol: TCP, port: 5060}]";
    let media = format!("podSelector: {{}}, route: {media}, ports: [{{protocol: UDP, port: 6000, endPort: 6010}}]");
    manifest::all(&[manifest::policy("default", "sip", sip), manifest::policy("default", "media", &media)])
}

#[test]
fn flows_of_another_policy_see_nothing_of_an_edit() -> Result<()> {
    scenario(|lab| {
        lab.manifest("policies.yaml", &policies("b"))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.plain_pod("phone")?;
        let quiet = [Flow::udp(5060, server4(7000)), Flow::tcp(5060, server6(7000)), Flow::tcp(9000, server4(7001))];
        let moved = Flow::udp(6005, server4(7002));
        let stream = Stream::start(&pod.namespace, &[quiet[0], quiet[1], quiet[2], moved], PACE)?;
        stream.answered(30, SOON)?;
        lab.manifest("policies.yaml", &policies("c"))?;
        let by_c =
            || stream.tallies().get(&moved).is_some_and(|t| t.seen.iter().any(|(seen, n)| seen.door == "c" && *n > 30));
        sortie_testkit::until(SOON, "the edited flow at its new router", by_c)?;
        let tallies = stream.stop();
        for flow in quiet {
            let tally = tallies.get(&flow).context("it was sent")?;
            assert_eq!(tally.seen.len(), 1, "{flow}: {:?}", tally.seen);
            assert!(tally.connections <= 1, "{flow}: {} connections", tally.connections);
            let lost = tally.sent.saturating_sub(tally.answered);
            ensure!(flow.transport != sortie_testkit::Transport::Udp || lost <= 3, "{flow}: {lost} lost");
        }
        Ok(())
    })
}

/// The pod keeps its own address; its flows move from one route to the other and never use the default router.
#[test]
fn flows_with_the_pods_own_source_move_without_straying() -> Result<()> {
    scenario(|lab| {
        let policy = |route: &str| {
            let spec = format!("podSelector: {{}}, route: {route}, source: {{type: Pod}}");
            manifest::policy("default", "own", &spec)
        };
        lab.manifest("policy.yaml", &policy("b"))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.plain_pod("own")?;
        let wrong = Capture::start(lab.router("a"))?;
        let flows = [server4(7000), server6(7000)].map(|to| Flow::udp(5060, to));
        let stream = Stream::start(&pod.namespace, &flows, Duration::from_millis(1))?;
        stream.answered(30, SOON)?;
        for route in ["c", "b", "c", "b"] {
            lab.manifest("policy.yaml", &policy(route))?;
            for flow in flows {
                let before = stream.tallies().get(&flow).map_or(0, |t| t.answered_by(route));
                let moved = || stream.tallies().get(&flow).is_some_and(|t| t.answered_by(route) > before + 50);
                sortie_testkit::until(SOON, "the flow at its new router", moved)
                    .with_context(|| format!("{flow} to {route}: {:#?}", stream.tallies()))?;
            }
        }
        drop(stream);
        let strayed = |c: &Captured| c.device == "node" && c.is_incoming && c.packet.destination_port == 7000;
        assert_eq!(wrong.count(strayed)?, 0);
        Ok(())
    })
}

#[test]
fn the_source_of_running_flows_follows_the_policy() -> Result<()> {
    scenario(|lab| {
        let policy = |source: &str| {
            let spec = format!("podSelector: {{}}, route: b, source: {{type: {source}}}");
            manifest::policy("default", "source", &spec)
        };
        lab.manifest("policy.yaml", &policy("Device"))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.plain_pod("pod")?;
        for to in [server4(7000), server6(7000)] {
            leaves_by(lab, &pod.namespace, Flow::udp(5060, to), "b")?;
        }
        lab.manifest("policy.yaml", &policy("Pod"))?;
        for to in [server4(7000), server6(7000)] {
            leaves_as_soon(&pod.namespace, Flow::udp(5060, to), ("b", pod.like(to.ip())?))?;
        }
        lab.manifest("policy.yaml", &policy("Device"))?;
        for to in [server4(7000), server6(7000)] {
            leaves_by_soon(&pod.namespace, Flow::udp(5060, to), "b")?;
        }
        Ok(())
    })
}

#[test]
fn a_running_pod_is_selected_and_deselected_by_a_policy() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let pod = scene.plain_pod("pod")?;
        let flows = [Flow::udp(5060, server4(7000)), Flow::tcp(8000, server6(7000)), Flow::sctp(2905, server4(7000))];
        for round in ["b", "c"] {
            for flow in flows {
                leaves_by_soon(&pod.namespace, flow, "a")?;
            }
            let spec = format!("podSelector: {{}}, route: {round}");
            lab.manifest("policy.yaml", &manifest::policy("default", "all", &spec))?;
            for flow in flows {
                leaves_by_soon(&pod.namespace, flow, round)?;
            }
            lab.remove_manifest("policy.yaml")?;
        }
        for flow in flows {
            leaves_by_soon(&pod.namespace, flow, "a")?;
        }
        Ok(())
    })
}

#[test]
fn a_withdrawn_authorisation_ends_the_selection_and_says_so() -> Result<()> {
    scenario(|lab| {
        let route = |allowed: &str| manifest::route("b").replace("{from: All}", allowed);
        lab.manifest("routes.yaml", &route("{from: All}"))?;
        lab.manifest("policy.yaml", &manifest::policy("default", "all", "podSelector: {}, route: b"))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.plain_pod("pod")?;
        let flow = Flow::udp(5060, server4(7000));
        leaves_by(lab, &pod.namespace, flow, "b")?;
        lab.manifest("routes.yaml", &route("{from: Selector, selector: {matchLabels: {network: telco}}}"))?;
        scene.helper.await_condition(SOON, "NamespaceNotAllowed")?;
        leaves_by_soon(&pod.namespace, flow, "a")?;
        let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {network: telco}}\n";
        lab.manifest("namespace.yaml", namespace)?;
        leaves_by_soon(&pod.namespace, flow, "b")
    })
}

#[test]
fn a_policy_whose_route_does_not_exist_drops_and_says_so() -> Result<()> {
    scenario(|lab| {
        lab.manifest("policy.yaml", &manifest::policy("default", "all", "podSelector: {}, route: nowhere"))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.cni.pod(PodSpec::new("pod"))?;
        let condition = scene.helper.await_condition(SOON, "RouteNotFound")?;
        ensure!(condition.contains("default/all") && condition.contains("nowhere"), "{condition}");
        is_dropped_soon(&pod.namespace, Flow::udp(5060, server4(7000)))?;
        is_dropped_soon(&pod.namespace, Flow::tcp(5060, server6(7000)))
    })
}
