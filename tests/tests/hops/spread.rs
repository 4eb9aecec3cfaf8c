//! Several next hops share the flows of a route.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::{PATIENCE, SERVER6};
use sortie_testkit::probe::udp_socket;
use sortie_testkit::{Capture, Captured, Pod, PodSpec, manifest, until};
use sortie_tests::expect::node_address;
use sortie_tests::{Scene, scenario};

/// Destinations per family.
const FLOWS: usize = 200;

/// A socket per family; every destination is a flow of its own.
fn open(pod: &Pod) -> Result<[UdpSocket; 2]> {
    pod.namespace.with(|| Ok([udp_socket("0.0.0.0:4000".parse()?)?, udp_socket("[::]:4000".parse()?)?]))
}

/// One datagram to each address.
fn scatter([four, six]: &[UdpSocket; 2], destinations: impl Iterator<Item = std::net::IpAddr>) -> Result<()> {
    for to in destinations {
        let socket = if to.is_ipv4() { four } else { six };
        socket.send_to(b"?", (to, 9000)).context("cannot send")?;
    }
    Ok(())
}

fn four() -> impl Iterator<Item = std::net::IpAddr> {
    (0..FLOWS).map(|n| Ipv4Addr::new(192, 0, 2, u8::try_from(n + 20).unwrap_or(20)).into())
}

fn six() -> impl Iterator<Item = std::net::IpAddr> {
    let net = SERVER6.segments();
    (0..FLOWS).map(move |n| Ipv6Addr::new(net[0], net[1], net[2], 0, 0, 0, 1, u16::try_from(n).unwrap_or(0)).into())
}

fn is_scattered(c: &Captured) -> bool {
    c.device == "node" && c.is_incoming && c.packet.destination_port == 9000
}

#[test]
fn flows_are_shared_by_weight_in_both_families_and_none_goes_elsewhere() -> Result<()> {
    scenario(|lab| {
        let hops = format!("{}, {}", manifest::hops("b", ", weight: 3"), manifest::hops("c", ", weight: 1"));
        lab.manifest("spread.yaml", &manifest::route_with("spread", &hops, ""))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("many", "spread")?;
        let captures = ["a", "b", "c"].map(|router| Capture::start(lab.router(router)));
        let [a, b, c] = captures;
        let (a, b, c) = (a?, b?, c?);
        scatter(&open(&pod)?, four().chain(six()))?;
        let total = || Some(b.count(is_scattered).ok()? + c.count(is_scattered).ok()?);
        until(PATIENCE, "every flow at one of the routers", || total() == Some(2 * FLOWS))?;
        assert_eq!(a.count(is_scattered)?, 0);
        for is_four in [true, false] {
            let of_family = |x: &Captured| is_scattered(x) && x.packet.source.is_ipv4() == is_four;
            let (first, second) = (b.count(of_family)?, c.count(of_family)?);
            eprintln!("IPv4 {is_four}: {first} by b, {second} by c");
            ensure!(first > second && second >= FLOWS / 10, "weights 3 and 1 gave {first} and {second}");
        }
        for (router, capture) in [("b", &b), ("c", &c)] {
            let foreign = |x: &Captured| is_scattered(x) && x.packet.source != node_address(router, x.packet.source);
            assert_eq!(capture.count(foreign)?, 0, "a foreign source at {router}");
        }
        Ok(())
    })
}

#[test]
fn a_flow_stays_with_its_next_hop() -> Result<()> {
    scenario(|lab| {
        let hops = format!("{}, {}", manifest::hops("b", ""), manifest::hops("c", ""));
        lab.manifest("spread.yaml", &manifest::route_with("spread", &hops, ""))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.cni.pod(PodSpec::new("many").with("route", "spread"))?;
        let (b, c) = (Capture::start(lab.router("b"))?, Capture::start(lab.router("c"))?);
        let sockets = open(&pod)?;
        for _ in 0..5 {
            scatter(&sockets, four().take(40).chain(six().take(40)))?;
        }
        let seen = || Some(b.count(is_scattered).ok()? + c.count(is_scattered).ok()?);
        until(PATIENCE, "every datagram at one of the routers", || seen() == Some(5 * 80))?;
        let at_b = b.packets()?.into_iter().filter(is_scattered).map(|x| x.packet.destination);
        let at_b: std::collections::BTreeSet<_> = at_b.collect();
        let both = |x: &Captured| is_scattered(x) && at_b.contains(&x.packet.destination);
        assert_eq!(c.count(both)?, 0, "a flow was seen at both routers");
        Ok(())
    })
}
