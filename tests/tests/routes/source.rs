//! Whose address a flow leaves with.

use anyhow::Result;
use sortie_testkit::lab::servers;
use sortie_testkit::{Capture, Flow, PodSpec, Transport};
use sortie_tests::expect::{leaves_as, leaves_by};
use sortie_tests::{Scene, scenario};

#[test]
fn the_pods_own_address_is_kept_when_it_is_asked_for() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let pod = scene.cni.pod(PodSpec::new("own").with("route", "b").with("source", "pod"))?;
        for transport in Transport::ALL {
            for to in servers(7000) {
                let flow = Flow { transport, port: 5060, to };
                leaves_as(lab, &pod.namespace, flow, ("b", pod.like(to.ip())?))?;
            }
        }
        Ok(())
    })
}

#[test]
fn both_sources_live_side_by_side_on_one_pod() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let routes = r#"[{"route": "b", "ports": [{"protocol": "UDP", "port": 5060}], "source": {"type": "Pod"}},
                         {"route": "b", "ports": [{"protocol": "UDP", "port": 5061}]}]"#;
        let pod = scene.cni.pod(PodSpec::new("both").with("routes", routes))?;
        for to in servers(7000) {
            leaves_as(lab, &pod.namespace, Flow::udp(5060, to), ("b", pod.like(to.ip())?))?;
            leaves_by(lab, &pod.namespace, Flow::udp(5061, to), "b")?;
            leaves_by(lab, &pod.namespace, Flow::udp(5062, to), "a")?;
        }
        Ok(())
    })
}

#[test]
fn two_pods_with_one_port_get_two_ports_behind_the_device() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let capture = Capture::start(lab.router("b"))?;
        let pods = [scene.pod_by("one", "b")?, scene.pod_by("two", "b")?];
        for to in servers(7000) {
            for pod in &pods {
                assert!(lab.ask(&pod.namespace, Flow::udp(5060, to))?.is_some(), "{to}");
            }
            let own = |c: &sortie_testkit::Captured| {
                let is_theirs = pods.iter().any(|pod| pod.addresses.contains(&c.packet.source));
                c.device == "node" && c.is_incoming && is_theirs
            };
            assert_eq!(capture.count(own)?, 0, "a pod's own address was seen at the router");
        }
        Ok(())
    })
}
