//! Which flows are taken.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use sortie_testkit::lab::{NODE4, NODE6, ROUTERS, server4, server6, servers};
use sortie_testkit::{Door, Echo, Flow, Lab, Main, Network, Pod, PodSpec, Transport, manifest};
use sortie_tests::expect::{leaves_as, leaves_by};
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

#[test]
fn destinations_of_route_and_pod_limit_what_is_taken() -> Result<()> {
    scenario(|lab| {
        let limits = "  destinations: [192.0.2.0/24, \"2001:db8:2::/64\"]\n  exceptDestinations: [192.0.2.128/25]\n";
        lab.manifest("limited.yaml", &manifest::route_with("limited", &manifest::hops("b", ""), limits))?;
        serve_everywhere(lab)?;
        let scene = Scene::new(lab, &[])?;
        let limited = scene.pod_by("limited", "limited")?;
        let chosen = PodSpec::new("chosen").with("route", "b").with("destinations", "192.0.2.0/28,2001:db8:2::10/128");
        let chosen = scene.cni.pod(chosen.with("except-destinations", "192.0.2.8/30"))?;
        // Each pod has a port of its own, so that none is translated to another one behind the node's address.
        let by = |pod: &Pod, to: &str, router: &str| {
            let port = if std::ptr::eq(pod, &limited) { 4000 } else { 4001 };
            leaves_by(lab, &pod.namespace, Flow::udp(port, to.parse()?), router)
        };
        by(&limited, "192.0.2.10:7000", "b")?;
        by(&limited, "192.0.2.130:7000", "a")?;
        by(&limited, "198.51.150.1:7000", "a")?;
        by(&limited, "[2001:db8:2::10]:7000", "b")?;
        by(&chosen, "192.0.2.2:7000", "b")?;
        by(&chosen, "192.0.2.10:7000", "a")?;
        by(&chosen, "192.0.2.130:7000", "a")?;
        by(&chosen, "[2001:db8:2::10]:7000", "b")
    })
}

/// More addresses of the server: they answer by the router of the request, too.
fn serve_everywhere(lab: &Lab) -> Result<()> {
    let mut doors = Vec::new();
    lab.server.ip("addr add 198.51.150.1/32 dev lo\naddr add 192.0.2.130/32 dev lo\naddr add 192.0.2.2/32 dev lo")?;
    for (index, router) in ROUTERS.iter().enumerate() {
        lab.routers[index].ip(&format!("route add 198.51.150.0/24 via 10.{}.0.2", index + 1))?;
        for at in ["198.51.150.1:7000", "192.0.2.130:7000", "192.0.2.2:7000"] {
            doors.push(Door { label: (*router).into(), device: Some((*router).into()), at: at.parse()? });
        }
    }
    // Lives as long as the test process; its sockets end with it.
    std::mem::forget(Echo::start(&lab.server, &doors)?);
    Ok(())
}

#[test]
fn policy_namespace_and_net_conf_select_as_annotations_do() -> Result<()> {
    scenario(|lab| {
        let namespace =
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: telco\n  annotations: {sortie.dev/route: c}\n";
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: labelled, namespace: default, labels: {app: sip}}\n\
                   spec: {nodeName: node1, containers: [{name: x, ports: [{name: sip, protocol: UDP, containerPort: 5060}]}]}\n";
        let policy = "podSelector: {matchLabels: {app: sip}}, route: b, ports: [{protocol: UDP, port: 5060}]";
        let documents = [namespace.to_owned(), pod.to_owned(), manifest::policy("default", "sip", policy)];
        lab.manifest("objects.yaml", &manifest::all(&documents))?;
        let scene = Scene::new(lab, &[])?;
        let labelled = scene.plain_pod("labelled")?;
        let telco = scene.cni.pod(PodSpec::new("telco").namespace("telco"))?;
        let routes = serde_json::json!([{"route": "b", "ports": ["tcp:9000-9100"]}]);
        let alone = ["10.244.1.200".parse()?, "fd00:244:1::200".parse()?];
        let direct = Network::new(lab, Main::Bridge)?.name("direct").only(alone).sortie("routes", routes).write()?;
        let bare = direct.pod(PodSpec { name: "bare".into(), ..PodSpec::default() })?;
        for to in servers(7000) {
            leaves_by(lab, &labelled.namespace, Flow::udp(5060, to), "b")?;
            leaves_by(lab, &labelled.namespace, Flow::udp(5061, to), "a")?;
            leaves_by(lab, &telco.namespace, Flow::tcp(0, to), "c")?;
            leaves_by(lab, &bare.namespace, Flow::tcp(9100, to), "b")?;
            leaves_by(lab, &bare.namespace, Flow::tcp(9101, to), "a")?;
        }
        Ok(())
    })
}

#[test]
fn traffic_inside_the_cluster_is_never_taken() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let (chosen, other) = (scene.pod_by("chosen", "b")?, scene.plain_pod("other")?);
        let door = |label: &str, at: IpAddr| Door { label: label.into(), device: None, at: (at, 8000).into() };
        let _in_pod = Echo::start(&other.namespace, &[door("pod", other.ip4()?), door("pod", other.ip6()?)])?;
        let _in_node = Echo::start(&lab.node, &[door("node", NODE4[0].into()), door("node", NODE6[0].into())])?;
        for transport in Transport::ALL {
            let flow = |to: SocketAddr| Flow { transport, port: 4000, to };
            for to in [other.ip4()?, other.ip6()?] {
                leaves_as(lab, &chosen.namespace, flow((to, 8000).into()), ("pod", chosen.like(to)?))?;
            }
            for to in [IpAddr::from(NODE4[0]), NODE6[0].into()] {
                leaves_as(lab, &chosen.namespace, flow((to, 8000).into()), ("node", chosen.like(to)?))?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_ptp_network_is_served_like_a_bridge() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::on(lab, &[], &Network::new(lab, Main::Ptp)?)?;
        let (pod, plain) = (scene.pod_by("chosen", "b")?, scene.plain_pod("plain")?);
        for transport in Transport::ALL {
            for to in servers(7000) {
                leaves_by(lab, &pod.namespace, Flow { transport, port: 4001, to }, "b")?;
                leaves_by(lab, &plain.namespace, Flow { transport, port: 4001, to }, "a")?;
            }
        }
        Ok(())
    })
}
