//! Somebody gives packets of a selected flow another exit, device or source behind our back, while no helper is there to
//! notice: they are dropped, and counted.

use anyhow::{Result, ensure};
use sortie_testkit::lab::{ROUTERS, server4};
use sortie_testkit::{Flow, Lab, Pod, kernel};
use sortie_tests::expect::{is_dropped, leaves_as, leaves_by};
use sortie_tests::{Scene, scenario};

use super::watch::{PORT, Watch};

/// A second address of `eth1`.
const SECOND: &str = "172.16.1.99";

/// A pod all of whose traffic leaves by `b`, and nobody who repairs anything.
fn alone(test: impl FnOnce(&Lab, &Pod) -> Result<()>) -> Result<()> {
    scenario(|lab| {
        let mut scene = Scene::new(lab, &["--steering", "marks"])?;
        let pod = scene.pod_by("chosen", "b")?;
        leaves_by(lab, &pod.namespace, flow(5060), "b")?;
        scene.helper.kill9()?;
        test(lab, &pod)
    })
}

fn flow(port: u16) -> Flow {
    Flow::udp(port, server4(PORT))
}

/// Nothing of the flow is seen at any router, and the guard says so.
fn guarded(lab: &Lab, pod: &Pod, port: u16) -> Result<()> {
    let (watch, before) = (Watch::start(lab)?, kernel::counter(&lab.node, "drop_guard")?);
    is_dropped(&pod.namespace, flow(port))?;
    for router in ROUTERS {
        ensure!(watch.seen_at(router)? == 0, "port {port} was seen at {router}");
    }
    ensure!(kernel::counter(&lab.node, "drop_guard")? > before, "port {port} was not counted");
    Ok(())
}

fn translate(lab: &Lab, source: &str) -> Result<()> {
    lab.node.nft(&format!(
        "table ip stranger {{ chain post {{ type nat hook postrouting priority 80; udp dport {PORT} snat to {source}; }}; }}"
    ))
}

#[test]
fn a_source_of_another_device_is_dropped() -> Result<()> {
    alone(|lab, pod| {
        translate(lab, "10.10.0.11")?;
        guarded(lab, pod, 5061)
    })
}

#[test]
fn an_address_counts_as_long_as_the_device_has_it() -> Result<()> {
    alone(|lab, pod| {
        lab.node.ip(&format!("addr add {SECOND}/24 dev eth1"))?;
        translate(lab, SECOND)?;
        leaves_as(lab, &pod.namespace, flow(5061), ("b", SECOND.parse()?))?;
        lab.node.ip(&format!("addr del {SECOND}/24 dev eth1"))?;
        guarded(lab, pod, 5061)
    })
}

#[test]
fn a_packet_that_is_routed_to_another_device_is_dropped() -> Result<()> {
    alone(|lab, pod| {
        lab.node.ip("route replace default via 172.16.2.1 dev eth2 onlink table 10000 proto 155")?;
        guarded(lab, pod, 5061)
    })
}

/// Device and source are right for the other route, and wrong for this one.
#[test]
fn a_packet_that_gets_the_mark_of_another_route_is_dropped() -> Result<()> {
    alone(|lab, pod| {
        lab.node.nft(&format!(
            "table inet stranger {{ chain pre {{ type filter hook prerouting priority -80; \
             udp dport {PORT} meta mark set meta mark and 0xffffffc0 or 0x2; }}; }}"
        ))?;
        guarded(lab, pod, 5061)
    })
}

/// The same name on another device is the route's, the same device with another name is not.
#[test]
fn a_device_that_is_renamed_is_another_one() -> Result<()> {
    alone(|lab, pod| {
        lab.node.ip("link set eth1 down\nlink set eth1 name other\nlink set other up")?;
        lab.node.ip("route replace default via 172.16.1.1 dev other onlink table 10000 proto 155")?;
        guarded(lab, pod, 5061)
    })
}
