//! ICMP: of its own, and about flows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::{PATIENCE, servers};
use sortie_testkit::probe::udp_socket;
use sortie_testkit::{Capture, Captured, PodSpec, ping, until};
use sortie_tests::{Scene, scenario};

/// When a datagram without an answer is sent again.
const AGAIN: Duration = Duration::from_millis(500);

#[test]
fn a_ping_follows_the_whole_pod_and_stays_when_only_ports_are_chosen() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let whole = scene.pod_by("whole", "b")?;
        let part = scene.cni.pod(PodSpec::new("part").with("route", "b").with("ports", "udp:5060"))?;
        let captures = [Capture::start(lab.router("a"))?, Capture::start(lab.router("b"))?];
        for to in servers(0) {
            let is_echo = |c: &Captured| {
                c.device == "node"
                    && c.is_incoming
                    && matches!(c.packet.icmp, Some((8 | 128, _)))
                    && c.packet.destination == to.ip()
            };
            for (pod, expected) in [(&whole, [0, 1]), (&part, [1, 1])] {
                ensure!(ping(&pod.namespace, to.ip(), PATIENCE)?, "{to}: no answer to {}", pod.spec.name);
                let seen = [captures[0].count(is_echo)?, captures[1].count(is_echo)?];
                assert_eq!(seen, expected, "{to}: after {}", pod.spec.name);
            }
        }
        Ok(())
    })
}

/// Nobody listens at the far end: its kernel says so, and the pod hears it.
#[test]
fn port_unreachable_about_a_chosen_flow_reaches_the_pod() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        for (name, source) in [("device", "device"), ("own", "pod")] {
            let pod = scene
                .cni
                .pod(PodSpec::new(name).with("route", "b").with("ports", "udp:5060").with("source", source))?;
            for to in servers(9) {
                let refused = pod.namespace.with(|| {
                    let any = if to.is_ipv4() { "0.0.0.0:5060" } else { "[::]:5060" };
                    let socket = udp_socket(any.parse()?)?;
                    socket.connect(to).context("cannot connect")?;
                    socket.set_read_timeout(Some(PATIENCE)).context("cannot set a time limit")?;
                    socket.send(b"?").context("cannot send")?;
                    Ok(socket.recv(&mut [0; 16]).err().map(|error| error.kind()))
                })?;
                assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused), "{name} {to}");
            }
        }
        Ok(())
    })
}

/// The pod's process is gone when the far end answers: the pod's own error belongs to the flow and reaches the far end.
#[test]
fn an_error_the_pod_sends_about_a_chosen_flow_leaves_by_its_route() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let pod = scene.cni.pod(PodSpec::new("gone").with("route", "b").with("ports", "udp:5060"))?;
        let (right, wrong) = (Capture::start(lab.router("b"))?, Capture::start(lab.router("a"))?);
        for to in servers(9900) {
            let far = lab.server.with(|| udp_socket(to))?;
            far.set_read_timeout(Some(PATIENCE)).context("cannot set a time limit")?;
            pod.namespace.with(|| {
                let any = if to.is_ipv4() { "0.0.0.0:5060" } else { "[::]:5060" };
                let socket = udp_socket(any.parse()?)?;
                socket.send_to(b"?", to).context("cannot send").map(drop)
            })?;
            let (_, from) = far.recv_from(&mut [0; 16]).context("the request did not arrive")?;
            far.connect(from).context("cannot connect")?;
            // A datagram may be lost on a busy machine.
            let is_refused = || {
                let heard = far.send(b"!").and_then(|_| far.recv(&mut [0; 16]));
                heard.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
            };
            far.set_read_timeout(Some(AGAIN)).context("cannot set a time limit")?;
            until(PATIENCE, &format!("the pod's error at {to}"), is_refused)?;
            let is_error =
                |c: &Captured| c.is_incoming && c.packet.about.as_ref().is_some_and(|p| p.source_port == 9900);
            assert_eq!(wrong.count(|c| is_error(c) && c.device == "node")?, 0, "{to}");
            let source = sortie_tests::expect::node_address("b", to.ip());
            assert!(right.count(|c| is_error(c) && c.packet.source == source)? > 0, "{to}: no error from {source}");
        }
        Ok(())
    })
}

/// Behind the router the path is narrower: "too big" comes back to the pod, and it sends smaller packets.
#[test]
fn too_big_about_a_chosen_flow_reaches_the_pod() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let pod = scene.cni.pod(PodSpec::new("big").with("route", "b").with("ports", "tcp:5060-5070"))?;
        lab.router("b").ip("link set dev server mtu 1300")?;
        for (port, to) in (5060..).zip(servers(7000)) {
            let got = pod.namespace.with(|| send_much(port, to)).with_context(|| format!("{to}"))?;
            ensure!(got.starts_with("b "), "{to}: {got}");
        }
        Ok(())
    })
}

/// More than one full segment; it arrives only when the pod has learnt the path's size.
fn send_much(port: u16, to: std::net::SocketAddr) -> Result<String> {
    use std::io::{Read as _, Write as _};

    let domain = if to.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).context("no socket")?;
    let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
    let own: std::net::SocketAddr = (any.parse::<std::net::IpAddr>()?, port).into();
    socket.bind(&own.into()).context("cannot bind")?;
    socket.connect_timeout(&to.into(), PATIENCE).context("cannot connect")?;
    let mut stream: std::net::TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(5))).context("cannot set a time limit")?;
    stream.write_all(&[b'?'; 20_000]).context("cannot send")?;
    stream.shutdown(std::net::Shutdown::Write).context("cannot end")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("no answer")?;
    Ok(text)
}
