//! Connections that somebody opens to a selected pod: answers go back the way the request came.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::{CLIENT4, CLIENT6, GATEWAY4, GATEWAY6, NODE4, NODE6, PATIENCE, ROUTERS};
use sortie_testkit::{Capture, Captured, Door, Echo, Flow, Lab, Main, Network, Pod, PodSpec, Transport, probe};
use sortie_tests::{Scene, scenario};

const MODES: [&str; 2] = ["rules", "marks"];

fn serve(pod: &Pod) -> Result<Echo> {
    let doors =
        ["0.0.0.0:8000", "[::]:8000"].map(|at| Door { label: "pod".into(), device: None, at: at.parse().unwrap() });
    Echo::start(&pod.namespace, &doors)
}

/// A client at a router, with the router's own address or with one behind it.
fn asks(lab: &Lab, router: &str, to: SocketAddr) -> Result<()> {
    for transport in Transport::ALL {
        let flow = Flow { transport, port: 40_000, to };
        let seen = probe(lab.router(router), flow, PATIENCE)?;
        let seen = seen.with_context(|| format!("a client at {router} got no answer to {flow}"))?;
        assert_eq!(seen.door, "pod");
    }
    Ok(())
}

/// The routers' clients use an address from far away instead of the one on the link.
fn from_far(lab: &Lab) -> Result<()> {
    for (index, router) in lab.routers.iter().enumerate() {
        router.ip(&format!(
            "route replace 10.244.0.0/16 via {} src {}\n-6 route replace fd00:244::/32 via {} src {}",
            NODE4[index], CLIENT4[index], NODE6[index], CLIENT6[index]
        ))?;
    }
    Ok(())
}

fn nothing_strays(captures: &[Capture], to: &str) -> Result<()> {
    for (capture, router) in captures.iter().zip(ROUTERS).filter(|(_, router)| *router != to) {
        let is_answer = |c: &Captured| c.device == "node" && c.is_incoming && c.packet.destination_port == 40_000;
        assert_eq!(capture.count(is_answer)?, 0, "answers for a client at {to} left by {router}");
    }
    Ok(())
}

/// A pod whose route is `b` serves, and clients at a router are answered there and nowhere else, in both modes.
fn answered_at(router: &str, prepare: fn(&Lab) -> Result<()>) -> Result<()> {
    for mode in MODES {
        scenario(|lab| {
            prepare(lab)?;
            let scene = Scene::new(lab, &["--steering", mode])?;
            let pod = scene.pod_by("served", "b")?;
            let _echo = serve(&pod)?;
            let captures = lab.routers.iter().map(Capture::start).collect::<Result<Vec<_>>>()?;
            for to in [pod.ip4()?, pod.ip6()?] {
                asks(lab, router, (to, 8000).into())?;
            }
            nothing_strays(&captures, router)
        })
        .with_context(|| format!("steering {mode}"))?;
    }
    Ok(())
}

#[test]
fn a_client_on_the_lan_of_another_device_is_answered_there() -> Result<()> {
    answered_at("a", |_| Ok(()))
}

#[test]
fn a_client_behind_the_default_router_is_answered_by_it() -> Result<()> {
    answered_at("a", from_far)
}

#[test]
fn a_client_behind_the_routes_router_is_answered_by_it() -> Result<()> {
    answered_at("b", from_far)
}

/// As kube-proxy does it: the node's port is translated to the pod's, the client's address stays.
fn node_port(lab: &Lab, pod: &Pod) -> Result<()> {
    lab.node.nft(&format!(
        "table ip nodeport {{ chain in {{ type nat hook prerouting priority -100; \
           meta l4proto {{ tcp, udp, sctp }} th dport 30080 fib daddr type local dnat to {}:8000; }}; }}\n\
         table ip6 nodeport {{ chain in {{ type nat hook prerouting priority -100; \
           meta l4proto {{ tcp, udp, sctp }} th dport 30080 fib daddr type local dnat to [{}]:8000; }}; }}",
        pod.ip4()?,
        pod.ip6()?
    ))
}

#[test]
fn a_node_port_of_a_selected_pod_answers_by_the_door_of_the_request() -> Result<()> {
    for mode in MODES {
        scenario(|lab| {
            let scene = Scene::new(lab, &["--steering", mode])?;
            let pod = scene.pod_by("served", "b")?;
            let _echo = serve(&pod)?;
            node_port(lab, &pod)?;
            for (index, router) in ROUTERS.into_iter().enumerate() {
                for to in [IpAddr::from(NODE4[index]), NODE6[index].into()] {
                    asks(lab, router, (to, 30_080).into()).with_context(|| format!("door {router}"))?;
                }
            }
            Ok(())
        })
        .with_context(|| format!("steering {mode}"))?;
    }
    Ok(())
}

#[test]
fn a_host_port_of_the_portmap_plugin_keeps_working() -> Result<()> {
    for mode in MODES {
        scenario(|lab| {
            let scene = Scene::on(lab, &["--steering", mode], &Network::new(lab, Main::Bridge)?.portmap())?;
            let mappings =
                ["tcp", "udp"].map(|p| serde_json::json!({"hostPort": 8080, "containerPort": 8000, "protocol": p}));
            let spec = PodSpec { port_mappings: Some(serde_json::json!(mappings)), ..PodSpec::new("mapped") };
            let pod = scene.cni.pod(spec.with("route", "b"))?;
            let _echo = serve(&pod)?;
            for to in [IpAddr::from(NODE4[0]), NODE6[0].into()] {
                for flow in [Flow::udp(40_000, (to, 8080).into()), Flow::tcp(40_000, (to, 8080).into())] {
                    let seen =
                        probe(lab.router("a"), flow, PATIENCE)?.with_context(|| format!("no answer to {flow}"))?;
                    let client: IpAddr = if to.is_ipv4() { GATEWAY4[0].into() } else { GATEWAY6[0].into() };
                    ensure!(seen.source.ip() == client, "{flow}: the pod saw {seen}");
                }
            }
            Ok(())
        })
        .with_context(|| format!("steering {mode}"))?;
    }
    Ok(())
}
