//! Addresses of Services, written by the leader.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sortie_testkit::helper::NODE;
use sortie_testkit::kube::Kubectl;
use sortie_testkit::{manifest, poll, until};
use sortie_tests::api::SYSTEM;
use sortie_tests::scene::SOON;

use super::with_api;

/// How long a Lease lasts that nobody renews.
const LASTS: Duration = Duration::from_secs(15);

fn web() -> String {
    let ports = "{name: web, port: 80, protocol: TCP}";
    manifest::service("web", "", ports)
}

fn ingress(admin: &Kubectl) -> Result<Vec<Value>> {
    let service = admin.get(&["service", "web"])?;
    Ok(service["status"]["loadBalancer"]["ingress"].as_array().cloned().unwrap_or_default())
}

fn await_ingress(admin: &Kubectl, limit: Duration, wanted: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
    let mut last = Vec::new();
    poll(limit, "addresses of the Service", || {
        last = ingress(admin).unwrap_or_default();
        wanted(&last).then(|| last.clone())
    })
    .with_context(|| format!("last {last:?}"))
}

#[test]
fn a_service_of_our_class_gets_its_addresses_by_its_status() -> Result<()> {
    with_api(|_, scene| {
        scene.admin.apply(&manifest::all(&[manifest::pool(), web()]))?;
        let helper = scene.helper()?;
        let given = await_ingress(&scene.admin, SOON, |given| !given.is_empty())?;
        ensure!(given.iter().all(|entry| entry["ipMode"] == "VIP"), "{given:?}");
        let address = given[0]["ip"].as_str().context("no address")?.to_owned();
        ensure!(address.starts_with("203.0.113."), "{given:?}");
        helper.await_status(SOON, "the address in force", |status| {
            status["addresses"].as_array().is_some_and(|all| all.iter().any(|one| one["addresses"][0] == address))
        })?;
        let annotation = "sortie.dev/addresses=203.0.113.77";
        scene.admin.run(&["annotate", "service", "web", annotation])?;
        await_ingress(&scene.admin, SOON, |given| given.len() == 1 && given[0]["ip"] == "203.0.113.77")?;
        scene.admin.run(&["delete", "vippool", "public"])?;
        await_ingress(&scene.admin, SOON, <[Value]>::is_empty)?;
        Ok(())
    })
}

#[test]
fn an_address_that_kube_vips_annotation_asks_for_is_given_where_they_count() -> Result<()> {
    with_api(|_, scene| {
        let asks = manifest::service("web", "kube-vip.io/loadbalancerIPs: 203.0.113.78", "{name: web, port: 80}");
        scene.admin.apply(&manifest::all(&[manifest::pool(), asks]))?;
        let helper = scene.helper()?;
        await_ingress(&scene.admin, SOON, |given| !given.is_empty() && given[0]["ip"] != "203.0.113.78")?;
        drop(helper);
        let mut helper = scene.launch_with(&["--kube-vip-annotations"])?;
        helper.await_ready()?;
        await_ingress(&scene.admin, SOON, |given| given.len() == 1 && given[0]["ip"] == "203.0.113.78")?;
        let host = |service: Value| service["metadata"]["annotations"]["kube-vip.io/vipHost"] == NODE;
        until(SOON, "the owner under kube-vip's name", || scene.admin.get(&["service", "web"]).is_ok_and(host))
    })
}

#[test]
fn another_leader_is_left_in_office_until_its_lease_is_over() -> Result<()> {
    with_api(|_, scene| {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "sortie-leader", "namespace": SYSTEM},
            "spec": {"holderIdentity": "another", "leaseDurationSeconds": 15, "renewTime": "2001-01-01T00:00:00.000000Z"},
        });
        scene.admin.apply(&lease.to_string())?;
        scene.admin.apply(&manifest::all(&[manifest::pool(), web()]))?;
        let began = Instant::now();
        let _helper = scene.helper()?;
        await_ingress(&scene.admin, LASTS * 2, |given| !given.is_empty())?;
        // By its own clock: what the Lease says about time is another node's.
        ensure!(began.elapsed() >= LASTS, "it took the Lease after {} ms", began.elapsed().as_millis());
        let lease = scene.admin.get(&["lease", "--namespace", SYSTEM, "sortie-leader"])?;
        ensure!(lease["spec"]["holderIdentity"] == NODE, "{lease}");
        Ok(())
    })
}
