//! Events about objects.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use sortie_testkit::{PodSpec, manifest, until};
use sortie_tests::api::{ApiScene, pod};

use super::{WRITTEN, await_status, condition, with_api};

/// How long nothing is said twice.
const QUIET: Duration = Duration::from_secs(4);

/// Weight and reason of the events about an object.
fn events(scene: &ApiScene<'_>, kind: &str, name: &str) -> Result<Vec<(String, String)>> {
    let all = scene.admin.get(&["events.events.k8s.io", "--all-namespaces"])?;
    let about = |event: &&Value| event["regarding"]["kind"] == kind && event["regarding"]["name"] == name;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = all["items"].as_array().into_iter().flatten().filter(about);
    Ok(found.map(|event| (text(&event["type"]), text(&event["reason"]))).collect())
}

fn has(scene: &ApiScene<'_>, (kind, name): (&str, &str), weight: &str, reason: &str) -> Result<()> {
    let wanted = (weight.to_owned(), reason.to_owned());
    until(WRITTEN, &format!("{weight} {reason} of {kind} {name}"), || {
        events(scene, kind, name).is_ok_and(|all| all.contains(&wanted))
    })
}

#[test]
fn what_is_refused_and_what_is_well_again_is_said_once() -> Result<()> {
    with_api(|_, scene| {
        scene.admin.apply(&manifest::policy("default", "late", "podSelector: {}, route: late"))?;
        let _helper = scene.helper()?;
        has(&scene, ("EgressPolicy", "late"), "Warning", "RouteNotFound")?;
        let began = Instant::now();
        while began.elapsed() < QUIET {
            let all = events(&scene, "EgressPolicy", "late")?;
            ensure!(all.len() == 1, "{all:?}");
        }
        scene.admin.apply(&manifest::route_with("late", "{gateway: 172.16.1.1}", ""))?;
        has(&scene, ("EgressPolicy", "late"), "Normal", "Accepted")
    })
}

#[test]
fn a_lost_next_hop_a_new_owner_and_a_refused_pod_are_events() -> Result<()> {
    with_api(|lab, scene| {
        let pool = "apiVersion: sortie.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: public}\n\
                    spec: {addresses: [203.0.113.10], devices: [eth1], allowedNamespaces: {from: All}}\n";
        let asks = pod("lost", "x", sortie_testkit::helper::NODE)
            .replace("labels:", "annotations: {sortie.dev/route: nowhere}, labels:");
        scene.admin.apply(&manifest::all(&[pool.to_owned(), manifest::service("web", "", "{port: 80}"), asks]))?;
        let _helper = scene.helper()?;
        has(&scene, ("Service", "web"), "Normal", "OwnerChanged")?;
        await_status(&scene.admin, &["sor", "b"], |s| condition(s, "NextHopsReachable")["status"] == "True")?;
        lab.node.ip("link set eth1 down")?;
        has(&scene, ("ServiceOutboundRoute", "b"), "Warning", "NoExitNode")?;
        lab.node.ip("link set eth1 up")?;
        has(&scene, ("ServiceOutboundRoute", "b"), "Normal", "NextHopsReachable")?;
        // The runtime tries again and again.
        let network = scene.network()?;
        for _ in 0..3 {
            ensure!(network.pod(PodSpec::new("lost")).is_err(), "the pod was added");
        }
        has(&scene, ("Pod", "lost"), "Warning", "RouteNotFound")?;
        let all = events(&scene, "Pod", "lost")?;
        ensure!(all.len() == 1, "{all:?}");
        Ok(())
    })
}
