//! The address is on no device, and neighbours find it all the same.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use sortie_testkit::{Flow, Lab, kernel, manifest, until};
use sortie_tests::expect::{leaves_as, leaves_as_soon};
use sortie_tests::scene::SOON;
use sortie_tests::{Scene, scenario};

use super::stage::PORTS;

const VIP: [&str; 2] = ["172.16.1.200", "fd00:16::200"];

fn vip() -> [IpAddr; 2] {
    VIP.map(|address| address.parse().unwrap())
}

/// A pool on the network of router `b`, and a Service that asks for an address of it.
fn manifests() -> String {
    let pool = manifest::pool()
        .replace("203.0.113.0/24", "172.16.1.200-172.16.1.209")
        .replace("\"2001:db8:f::/64\"", "\"fd00:16::200-fd00:16::209\"");
    let annotations = format!("sortie.dev/route: b, sortie.dev/addresses: '{},{}'", VIP[0], VIP[1]);
    manifest::all(&[pool, manifest::service("sip", &annotations, PORTS), manifest::pod("sip-1", "sip")])
}

fn link_address(lab: &Lab, device: &str) -> Result<String> {
    let shown: serde_json::Value = serde_json::from_str(&lab.node.run("ip", &["-j", "link", "show", "dev", device])?)?;
    shown[0]["address"].as_str().map(str::to_owned).context("no address")
}

/// Where router `b` believes the address to be.
fn believed(lab: &Lab, address: IpAddr) -> Result<Option<String>> {
    let shown = lab.router("b").run("ip", &["-j", "neigh", "show", &address.to_string(), "dev", "node"])?;
    let entries: serde_json::Value = serde_json::from_str(&shown).unwrap_or_default();
    Ok(entries[0]["lladdr"].as_str().map(str::to_owned))
}

#[test]
fn the_router_finds_the_address_and_answers_reach_the_pod() -> Result<()> {
    scenario(|lab| {
        lab.manifest("sip.yaml", &manifests())?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.plain_pod("sip-1")?;
        for to in [sortie_testkit::lab::server4(7000), sortie_testkit::lab::server6(7000)] {
            let source = vip()[usize::from(to.is_ipv6())];
            leaves_as(lab, &pod.namespace, Flow::udp(5060, to), ("b", source))?;
            leaves_as(lab, &pod.namespace, Flow::tcp(5060, to), ("b", source))?;
            assert_eq!(believed(lab, source)?, Some(link_address(lab, "eth1")?));
        }
        let on_a_device = lab.node.run("ip", &["addr", "show"])?;
        ensure!(VIP.iter().all(|address| !on_a_device.contains(&format!("{address}/"))), "it is on a device");
        Ok(())
    })
}

#[test]
fn a_new_owner_is_announced_to_a_router_that_believes_another() -> Result<()> {
    scenario(|lab| {
        for address in VIP {
            let family = if address.contains(':') { "-6" } else { "-4" };
            let line =
                [family, "neigh", "replace", address, "lladdr", "02:00:00:00:00:99", "dev", "node", "nud", "stale"];
            lab.router("b").run("ip", &line)?;
        }
        lab.manifest("sip.yaml", &manifests())?;
        let _scene = Scene::new(lab, &[])?;
        let ours = link_address(lab, "eth1")?;
        for address in vip() {
            let moved = || believed(lab, address).is_ok_and(|mac| mac.as_deref() == Some(&ours));
            until(SOON, "the router to believe the announcement", moved)?;
        }
        Ok(())
    })
}

#[test]
fn an_address_taken_away_is_not_answered_for_any_more() -> Result<()> {
    scenario(|lab| {
        lab.manifest("sip.yaml", &manifests())?;
        let scene = Scene::new(lab, &[])?;
        scene.plain_pod("sip-1")?;
        let finds = |address: &str| {
            lab.router("b").run("ip", &["neigh", "flush", "dev", "node"])?;
            let _ = lab.router("b").run("ping", &["-c", "1", "-W", "1", address]);
            believed(lab, address.parse()?).map(|mac| mac.is_some())
        };
        for address in VIP {
            ensure!(finds(address)?, "{address} is not found");
        }
        lab.remove_manifest("sip.yaml")?;
        scene.helper.await_status(SOON, "no address", |s| s["addresses"].as_array().is_some_and(Vec::is_empty))?;
        for address in VIP {
            until(SOON, "nobody to answer", || finds(address).is_ok_and(|found| !found))?;
        }
        ensure!(kernel::elements(&lab.node, "vips4")?.is_empty(), "an address is left");
        Ok(())
    })
}

#[test]
fn the_address_comes_back_with_its_device() -> Result<()> {
    scenario(|lab| {
        lab.manifest("sip.yaml", &manifests())?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.plain_pod("sip-1")?;
        let flow = Flow::udp(5060, sortie_testkit::lab::server4(7000));
        leaves_as(lab, &pod.namespace, flow, ("b", vip()[0]))?;
        lab.node.ip("link set dev eth1 down")?;
        lab.router("b").run("ip", &["neigh", "flush", "dev", "node"])?;
        lab.node.ip("link set dev eth1 up")?;
        leaves_as_soon(&pod.namespace, flow, ("b", vip()[0]))
    })
}
