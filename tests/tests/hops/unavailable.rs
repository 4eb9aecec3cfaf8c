//! No next hop can be used.

use anyhow::{Result, ensure};
use sortie_testkit::lab::{GATEWAY4, GATEWAY6, NODE6, servers};
use sortie_testkit::{Capture, Flow, kernel, manifest};
use sortie_tests::expect::{is_dropped, is_dropped_soon, leaves_by, leaves_by_soon};
use sortie_tests::scene::SOON;
use sortie_tests::{Scene, scenario};

#[test]
fn without_a_next_hop_traffic_is_dropped_and_told() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("chosen", "b")?;
        let wrong = Capture::start(lab.router("a"))?;
        lab.node.ip("link set dev eth1 down")?;
        for to in servers(7000) {
            is_dropped_soon(&pod.namespace, Flow::udp(4000, to))?;
            is_dropped(&pod.namespace, Flow::tcp(4001, to))?;
        }
        scene.helper.await_condition(SOON, "NextHopUnreachable")?;
        let strayed = wrong.count(|c| c.device == "node" && c.packet.destination_port == 7000)?;
        assert_eq!(strayed, 0, "packets at the default router");
        Ok(())
    })
}

#[test]
fn with_use_main_table_traffic_falls_back_and_returns() -> Result<()> {
    scenario(|lab| {
        let spec = "  whenUnavailable: UseMainTable\n";
        lab.manifest("soft.yaml", &manifest::route_with("soft", &manifest::hops("b", ""), spec))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("soft", "soft")?;
        for to in servers(7000) {
            leaves_by(lab, &pod.namespace, Flow::udp(4000, to), "b")?;
        }
        lab.node.ip("link set dev eth1 down")?;
        for to in servers(7000) {
            leaves_by_soon(&pod.namespace, Flow::udp(4000, to), "a")?;
            leaves_by(lab, &pod.namespace, Flow::tcp(4001, to), "a")?;
        }
        lab.node.ip(&format!("link set dev eth1 up\naddr add {}/64 dev eth1 nodad", NODE6[1]))?;
        for to in servers(7000) {
            leaves_by_soon(&pod.namespace, Flow::udp(4000, to), "b")?;
        }
        Ok(())
    })
}

/// The device of the route does not exist when the pod starts.
#[test]
fn a_device_that_appears_later_takes_the_traffic_that_was_dropped_until_then() -> Result<()> {
    scenario(|lab| {
        let hops = manifest::hops("b", "").replace("eth1", "late0");
        lab.manifest("late.yaml", &manifest::route_with("late", &hops, ""))?;
        let scene = Scene::new(lab, &[])?;
        let wrong = Capture::start(lab.router("a"))?;
        let pod = scene.pod_by("late", "late")?;
        let status = scene.helper.status()?;
        let conditions = sortie_testkit::helper::conditions(&status);
        ensure!(
            conditions.iter().any(|c| c.contains("late") && c.contains("late0")),
            "no word of late0: {conditions:?}"
        );
        for to in servers(7000) {
            is_dropped(&pod.namespace, Flow::udp(4000, to))?;
        }
        lab.node.ip(&format!(
            "link set dev eth1 down\nlink set dev eth1 name late0\nlink set dev late0 up\n\
             addr add {}/64 dev late0 nodad",
            NODE6[1]
        ))?;
        for to in servers(7000) {
            leaves_by_soon(&pod.namespace, Flow::udp(4000, to), "b")?;
            leaves_by(lab, &pod.namespace, Flow::tcp(4001, to), "b")?;
        }
        let strayed = wrong.count(|c| c.device == "node" && c.packet.destination_port == 7000)?;
        assert_eq!(strayed, 0, "packets at the default router");
        Ok(())
    })
}

/// Only IPv4 has a next hop: IPv6 is dropped, not sent the old way.
#[test]
fn a_family_without_a_next_hop_is_dropped() -> Result<()> {
    scenario(|lab| {
        let hops = format!("{{gateway: {}, device: eth1}}", GATEWAY4[1]);
        lab.manifest("four.yaml", &manifest::route_with("four", &hops, ""))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("four", "four")?;
        let [four, six] = servers(7000);
        leaves_by(lab, &pod.namespace, Flow::udp(4000, four), "b")?;
        is_dropped(&pod.namespace, Flow::udp(4000, six))?;
        is_dropped(&pod.namespace, Flow::tcp(4001, six))
    })
}

/// A gateway without a device is found by the node's connected routes; a device without a gateway is a link.
#[test]
fn a_next_hop_may_name_only_its_gateway_or_only_its_device() -> Result<()> {
    scenario(|lab| {
        let bare = format!("{{gateway: {}}}, {{gateway: \"{}\"}}", GATEWAY4[1], GATEWAY6[1]);
        let documents = [
            manifest::route_with("bare", &bare, ""),
            manifest::route_with("link", "{device: eth2}", "  destinations: [192.0.2.0/24, \"2001:db8:2::/64\"]\n"),
        ];
        lab.manifest("hops.yaml", &manifest::all(&documents))?;
        // On the link the router answers for everybody.
        let router = lab.router("c");
        router.sysctl("net/ipv4/conf/node/proxy_arp", "1")?;
        router.sysctl("net/ipv6/conf/node/proxy_ndp", "1")?;
        router.ip(&format!("-6 neigh add proxy {} dev node", sortie_testkit::lab::SERVER6))?;
        let scene = Scene::new(lab, &[])?;
        let (bare, link) = (scene.pod_by("bare", "bare")?, scene.pod_by("link", "link")?);
        for to in servers(7000) {
            leaves_by(lab, &bare.namespace, Flow::udp(4000, to), "b")?;
            leaves_by_soon(&link.namespace, Flow::udp(4001, to), "c")?;
        }
        Ok(())
    })
}

/// A table that somebody else uses is not ours to write to.
#[test]
fn a_table_of_somebody_else_is_refused_by_name_and_left_alone() -> Result<()> {
    scenario(|lab| {
        lab.node.ip("route add 198.51.100.0/24 via 10.10.0.1 table 10500")?;
        let taken = manifest::route_with("taken", &manifest::hops("b", ""), "  tableId: 10500\n");
        let scene = Scene::new(lab, &[])?;
        let chosen = scene.pod_by("chosen", "b")?;
        lab.manifest("taken.yaml", &taken)?;
        let condition = scene.helper.await_condition(SOON, "10500")?;
        ensure!(condition.contains("taken") && condition.contains("tableId"), "{condition}");
        let routes = lab.node.run("ip", &["route", "show", "table", "10500"])?;
        assert_eq!(routes.trim(), "198.51.100.0/24 via 10.10.0.1 dev eth0");
        ensure!(kernel::own_table(&lab.node)?.is_some());
        for to in servers(7000) {
            leaves_by(lab, &chosen.namespace, Flow::udp(4000, to), "b")?;
        }
        Ok(())
    })
}
