//! Which flows are taken.

use anyhow::Result;
use sortie_testkit::lab::{server4, server6, servers};
use sortie_testkit::{Flow, PodSpec, Transport};
use sortie_tests::expect::leaves_by;
use sortie_tests::{Scene, scenario};

#[test]
fn every_protocol_and_family_of_a_whole_pod_leaves_by_its_route() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let (pod, plain) = (scene.pod_by("chosen", "b")?, scene.plain_pod("plain")?);
        for transport in Transport::ALL {
            for to in servers(7000) {
                leaves_by(lab, &pod.namespace, Flow { transport, port: 5060, to }, "b")?;
                leaves_by(lab, &plain.namespace, Flow { transport, port: 5060, to }, "a")?;
            }
        }
        Ok(())
    })
}

#[test]
fn several_routes_at_once_take_their_ports_and_leave_the_rest() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let routes = r#"[{"route": "b", "ports": [{"protocol": "UDP", "port": 5060}, {"protocol": "TCP", "port": 8000, "endPort": 8010},
                         {"protocol": "SCTP", "port": 2905}]},
                         {"route": "c", "destinationPorts": [{"protocol": "TCP", "port": 7001}]}]"#;
        let pod = scene.cni.pod(PodSpec::new("many").with("routes", routes))?;
        let by = |flow: Flow, router: &str| leaves_by(lab, &pod.namespace, flow, router);
        for server in [server4, server6] {
            by(Flow::udp(5060, server(7000)), "b")?;
            by(Flow::udp(5061, server(7000)), "a")?;
            by(Flow::tcp(5060, server(7000)), "a")?;
            by(Flow::tcp(8000, server(7000)), "b")?;
            by(Flow::tcp(8010, server(7002)), "b")?;
            by(Flow::tcp(8011, server(7002)), "a")?;
            by(Flow::sctp(2905, server(7000)), "b")?;
            by(Flow::sctp(2906, server(7000)), "a")?;
            by(Flow::tcp(0, server(7001)), "c")?;
            by(Flow::udp(0, server(7001)), "a")?;
        }
        Ok(())
    })
}
