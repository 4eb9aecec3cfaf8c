//! Objects change.

use anyhow::Result;
use sortie_testkit::{PodSpec, Stream, manifest};
use sortie_tests::scene::SOON;
use sortie_tests::{Scene, scenario};

use super::in_both_modes;
use super::watch::{Watch, goes_by, traffic};

in_both_modes!(policy_edited, route_deleted, route_moved_to_another_next_hop);

fn policy(route: &str) -> String {
    let ports = "ports: [{protocol: UDP, port: 5060}, {protocol: TCP, port: 8000}, {protocol: SCTP, port: 2905}]";
    manifest::policy("default", "all", &format!("podSelector: {{}}, route: {route}, {ports}"))
}

/// A pod whose traffic leaves by `b` because a policy says so.
fn chosen(mode: &str, test: impl FnOnce(&Scene<'_>, &Watch, &Stream) -> Result<()>) -> Result<()> {
    scenario(|lab| {
        lab.manifest("policy.yaml", &policy("b"))?;
        let scene = Scene::new(lab, &["--steering", mode])?;
        let pod = scene.cni.pod(PodSpec::new("chosen"))?;
        let (watch, stream) = (Watch::start(lab)?, traffic(&pod)?);
        goes_by(&stream, "b")?;
        test(&scene, &watch, &stream)
    })
}

/// From one route to the other and back: always one of the two, never the default.
fn policy_edited(mode: &str) -> Result<()> {
    chosen(mode, |scene, watch, stream| {
        watch.nothing_leaked(&["b"])?;
        for (route, old) in [("c", "b"), ("b", "c")] {
            scene.lab.manifest("policy.yaml", &policy(route))?;
            goes_by(stream, route)?;
            watch.nothing_leaked(&["b", "c"])?;
            watch.falls_silent(old, stream)?;
        }
        watch.nothing_leaked(&["b", "c"])
    })
}

/// The policy still names the route: its flows go nowhere until it is there again.
fn route_deleted(mode: &str) -> Result<()> {
    chosen(mode, |scene, watch, stream| {
        scene.lab.manifest("routes.yaml", &manifest::route("c"))?;
        scene.helper.await_condition(SOON, "RouteNotFound")?;
        watch.nothing_leaked(&["b"])?;
        watch.falls_silent("b", stream)?;
        watch.nothing_leaked(&[])?;
        scene.lab.manifest("routes.yaml", &manifest::all(&[manifest::route("b"), manifest::route("c")]))?;
        goes_by(stream, "b")?;
        watch.nothing_leaked(&["b"])
    })
}

fn route_moved_to_another_next_hop(mode: &str) -> Result<()> {
    chosen(mode, |scene, watch, stream| {
        scene.lab.manifest("routes.yaml", &manifest::route_with("b", &manifest::hops("c", ""), ""))?;
        goes_by(stream, "c")?;
        watch.nothing_leaked(&["b", "c"])
    })
}
