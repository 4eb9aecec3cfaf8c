//! Devices and next hops go away.

use anyhow::Result;
use sortie_testkit::PodSpec;
use sortie_testkit::lab::{GATEWAY4, GATEWAY6, NODE6};
use sortie_tests::{Scene, scenario};

use super::in_both_modes;
use super::watch::{PORTS, Watch, goes_by, traffic};

in_both_modes!(device_down, device_removed, next_hop_gone);

fn device_down(mode: &str) -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &["--steering", mode])?;
        let pod = scene.cni.pod(PodSpec::new("chosen").with("route", "b").with("ports", PORTS))?;
        let (watch, stream) = (Watch::start(lab)?, traffic(&pod)?);
        goes_by(&stream, "b")?;
        lab.node.ip("link set dev eth1 down")?;
        watch.falls_silent("b", &stream)?;
        watch.nothing_leaked(&[])?;
        // The kernel forgets IPv6 addresses of a device that goes down; who manages it puts them back.
        lab.node.ip(&format!("link set dev eth1 up\naddr add {}/64 dev eth1 nodad", NODE6[1]))?;
        goes_by(&stream, "b")?;
        watch.nothing_leaked(&["b"])
    })
}

/// The device disappears for good; nothing falls back to another one.
fn device_removed(mode: &str) -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &["--steering", mode])?;
        let pod = scene.cni.pod(PodSpec::new("chosen").with("route", "b").with("ports", PORTS))?;
        let (watch, stream) = (Watch::start(lab)?, traffic(&pod)?);
        goes_by(&stream, "b")?;
        lab.node.ip("link del dev eth1")?;
        watch.falls_silent("b", &stream)?;
        watch.nothing_leaked(&[])
    })
}

/// The link stays, the router's address does not.
fn next_hop_gone(mode: &str) -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &["--steering", mode])?;
        let pod = scene.cni.pod(PodSpec::new("chosen").with("route", "b").with("ports", PORTS))?;
        let (watch, stream) = (Watch::start(lab)?, traffic(&pod)?);
        goes_by(&stream, "b")?;
        let router = lab.router("b");
        router.ip(&format!("addr del {}/24 dev node\naddr del {}/64 dev node", GATEWAY4[1], GATEWAY6[1]))?;
        lab.node.ip("neigh flush dev eth1\n-6 neigh flush dev eth1")?;
        stream.sent(200, sortie_tests::scene::SOON)?;
        watch.nothing_leaked(&["b"])?;
        router.ip(&format!(
            "addr add {}/24 dev node\naddr add {}/64 dev node nodad\n\
             route replace 10.244.0.0/16 via 172.16.1.11\n-6 route replace fd00:244::/32 via fd00:16::11",
            GATEWAY4[1], GATEWAY6[1]
        ))?;
        goes_by(&stream, "b")?;
        watch.nothing_leaked(&["b"])
    })
}
