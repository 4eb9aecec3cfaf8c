//! Pods come and go.

use anyhow::Result;
use sortie_testkit::{Main, Network, PodSpec};
use sortie_tests::{Scene, scenario};

use super::in_both_modes;
use super::watch::{PORTS, Watch, goes_by, is_own, traffic};

in_both_modes!(pod_started, address_reused_by_a_selected_pod, address_reused_by_a_plain_pod);

/// Ten pods, each of which sends from the moment its ADD has returned.
fn pod_started(mode: &str) -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &["--steering", mode])?;
        let watch = Watch::start(lab)?;
        for number in 0..10 {
            let spec = PodSpec::new(&format!("p{number}")).with("route", "b").with("ports", PORTS);
            let pod = scene.cni.pod(spec)?;
            let stream = traffic(&pod)?;
            goes_by(&stream, "b")?;
            drop(stream);
            scene.cni.del(&pod)?;
        }
        watch.nothing_leaked(&["b"])
    })
}

const ADDRESS4: &str = "10.244.1.77";
const ADDRESS6: &str = "fd00:244:1::77";

/// An unselected pod's flows run; its address is given to a pod that sends the same flows and is selected.
fn address_reused_by_a_selected_pod(mode: &str) -> Result<()> {
    scenario(|lab| {
        let network = Network::new(lab, Main::Bridge)?.only([ADDRESS4.parse()?, ADDRESS6.parse()?]);
        let scene = Scene::on(lab, &["--steering", mode], &network)?;
        let watch = Watch::start(lab)?;
        let old = scene.plain_pod("old")?;
        let stream = traffic(&old)?;
        goes_by(&stream, "a")?;
        drop(stream);
        scene.cni.del(&old)?;
        let mut new = scene.cni.sandbox(PodSpec::new("new").with("route", "b").with("ports", PORTS))?;
        scene.cni.add(&mut new)?;
        watch.clear()?;
        let stream = traffic(&new)?;
        goes_by(&stream, "b")?;
        drop(stream);
        watch.nothing_leaked(&["b"])
    })
}

/// A selected pod's flows run; its address is given to a pod that asked for nothing and sends the same flows.
fn address_reused_by_a_plain_pod(mode: &str) -> Result<()> {
    scenario(|lab| {
        let network = Network::new(lab, Main::Bridge)?.only([ADDRESS4.parse()?, ADDRESS6.parse()?]);
        let scene = Scene::on(lab, &["--steering", mode], &network)?;
        let watch = Watch::start(lab)?;
        let old = scene.cni.pod(PodSpec::new("old").with("route", "b").with("ports", PORTS))?;
        let stream = traffic(&old)?;
        goes_by(&stream, "b")?;
        drop(stream);
        scene.cni.del(&old)?;
        let new = scene.plain_pod("new")?;
        watch.clear()?;
        let stream = traffic(&new)?;
        goes_by(&stream, "a")?;
        drop(stream);
        assert_eq!(watch.seen_at("b")?, 0, "the new pod used the old one's route");
        let own = watch.leaks(&["a"])?.iter().filter(|c| is_own(&new, c.packet.source)).count();
        assert_eq!(own, 0, "the new pod was not masqueraded");
        Ok(())
    })
}
