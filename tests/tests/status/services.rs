//! What Services say of their owner.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use sortie_testkit::helper::NODE;
use sortie_testkit::{manifest, poll, programs};
use sortie_tests::api::{ApiScene, SYSTEM};

use super::nodes::{OTHER, second};
use super::{WRITTEN, condition, with_api};

/// How long a former owner may not say anything any more.
const SILENT: Duration = Duration::from_secs(4);
const TO_CLUSTER_IP: &str = r#"{"spec":{"type":"ClusterIP","loadBalancerClass":null}}"#;
const READY: &str = "sortie.dev/EgressReady";

/// A pool for the nodes labelled `owner: WHO`, answered for on the devices of both nodes.
fn pool(who: &str) -> String {
    format!(
        "apiVersion: sortie.dev/v1alpha1\nkind: AddressPool\nmetadata: {{name: public}}\n\
         spec: {{addresses: [203.0.113.10-203.0.113.19], devices: [eth1, eth0], allowedNamespaces: {{from: All}}, \
         nodeSelector: {{matchLabels: {{owner: {who}}}}}}}\n"
    )
}

fn owner(service: &Value) -> Option<&str> {
    service["metadata"]["annotations"]["sortie.dev/owner-node"].as_str()
}

fn await_service(scene: &ApiScene<'_>, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    let found = poll(WRITTEN, "the Service", || {
        last = scene.admin.get(&["service", "web"]).unwrap_or_default();
        wanted(&last).then(|| last.clone())
    });
    found.map_err(|error| error.context(format!("last {last:#}")))
}

fn is_ready(service: &Value, status: &str, reason: &str) -> bool {
    let found = condition(&service["status"], READY);
    found["status"] == status && found["reason"] == reason
}

#[test]
fn a_service_names_its_owner_and_follows_it_to_another_node() -> Result<()> {
    with_api(|_, scene| {
        scene.admin.apply(&manifest::all(&[pool("one"), manifest::service("web", "", "{port: 80}")]))?;
        scene.admin.run(&["label", "node", NODE, "owner=one"])?;
        let helper = scene.helper()?;
        let mut other = second(&scene)?;
        scene.admin.run(&["label", "node", OTHER, "owner=two"])?;
        let first = await_service(&scene, |s| owner(s) == Some(NODE) && is_ready(s, "True", "Programmed"))
            .map_err(|error| error.context(helper.log()))?;
        let since = condition(&first["status"], READY)["lastTransitionTime"].clone();
        scene.admin.apply(&pool("two"))?;
        // The annotation is written first.
        let says = |s: &Value| condition(&s["status"], READY)["message"].as_str().is_some_and(|m| m.contains(OTHER));
        let second = await_service(&scene, |s| owner(s) == Some(OTHER) && is_ready(s, "True", "Programmed") && says(s))
            .map_err(|error| error.context(other.log()))?;
        ensure!(second["status"]["loadBalancer"]["ingress"].is_array(), "the addresses went: {second}");
        ensure!(condition(&second["status"], READY)["lastTransitionTime"] == since, "no transition: {second}");
        // The former owner does not write back, and nobody writes what is there.
        let (version, began) = (second["metadata"]["resourceVersion"].clone(), Instant::now());
        while began.elapsed() < SILENT {
            let now = scene.admin.get(&["service", "web"])?;
            ensure!(now["metadata"]["resourceVersion"] == version, "written again: {now}");
        }
        // Nobody may own any more: the leader says so.
        scene.admin.apply(&pool("nobody"))?;
        await_service(&scene, |s| owner(s).is_none() && is_ready(s, "False", "NoExitNode"))?;
        other.kill9()
    })
}

#[test]
fn a_service_says_why_its_pods_cannot_leave() -> Result<()> {
    with_api(|lab, scene| {
        let asks = manifest::service("web", "sortie.dev/route: b", "{port: 80}");
        scene.admin.apply(&manifest::all(&[manifest::pool(), asks]))?;
        let _helper = scene.helper()?;
        // No device of the lab has a network with the address, which is no reason not to know the owner.
        await_service(&scene, |s| owner(s) == Some(NODE) && condition(&s["status"], READY).is_object())?;
        let pool = "apiVersion: sortie.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: public}\n\
                    spec: {addresses: [203.0.113.10-203.0.113.19], devices: [eth1], allowedNamespaces: {from: All}}\n";
        scene.admin.apply(pool)?;
        await_service(&scene, |s| is_ready(s, "True", "Programmed"))?;
        lab.node.ip("link set eth1 down")?;
        await_service(&scene, |s| is_ready(s, "False", "DeviceMissing"))?;
        lab.node.ip("link set eth1 up")?;
        await_service(&scene, |s| is_ready(s, "True", "Programmed"))?;
        scene.admin.run(&["annotate", "--overwrite", "service", "web", "sortie.dev/route=nowhere"])?;
        await_service(&scene, |s| is_ready(s, "False", "RouteNotFound"))?;
        // What has nothing to do with us any more says nothing of us.
        scene.admin.run(&["annotate", "service", "web", "sortie.dev/route-"])?;
        scene.admin.run(&["patch", "service", "web", "--type=merge", "-p", TO_CLUSTER_IP])?;
        await_service(&scene, |s| owner(s).is_none() && condition(&s["status"], READY).is_null())?;
        Ok(())
    })
}

#[test]
fn forget_services_takes_off_what_helpers_wrote_and_nothing_else() -> Result<()> {
    with_api(|lab, scene| {
        let asks = manifest::service("web", "sortie.dev/route: b", "{port: 80}");
        scene.admin.apply(&manifest::all(&[manifest::pool(), asks]))?;
        scene.admin.run(&["annotate", "service", "web", "example.com/mine=kept"])?;
        let condition = r#"{"status":{"conditions":[{"type":"example.com/Mine","status":"True","reason":"Kept","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#;
        scene.admin.run(&["patch", "service", "web", "--subresource=status", "--type=merge", "-p", condition])?;
        let mut helper = scene.helper()?;
        let is_told = |s: &Value| owner(s) == Some(NODE) && super::condition(&s["status"], READY).is_object();
        await_service(&scene, |s| is_told(s) && s["status"]["loadBalancer"]["ingress"].is_array())?;
        helper.stop()?;
        scene.admin.apply(&sortie_tests::api::shipped("../uninstall/base/services.yaml")?)?;
        let kubeconfig = lab.path("uninstall.kubeconfig");
        std::fs::write(&kubeconfig, scene.api.account(SYSTEM, "sortie-uninstall")?)?;
        let mut command = Command::new(programs::ours("sortie-helper")?);
        command.arg("forget-services").arg("--kubeconfig").arg(&kubeconfig);
        for _ in 0..2 {
            let said = lab.node.with(|| Ok(command.output()?))?;
            ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        }
        let left = scene.admin.get(&["service", "web"])?;
        ensure!(owner(&left).is_none() && super::condition(&left["status"], READY).is_null(), "{left:#}");
        ensure!(left["status"]["loadBalancer"]["ingress"].is_null(), "{left:#}");
        ensure!(left["metadata"]["annotations"]["example.com/mine"] == "kept", "{left:#}");
        ensure!(left["metadata"]["annotations"]["sortie.dev/route"] == "b", "{left:#}");
        ensure!(super::condition(&left["status"], "example.com/Mine")["status"] == "True", "{left:#}");
        Ok(())
    })
}
