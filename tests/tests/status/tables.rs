//! Tables of routes.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sortie_testkit::lab::server4;
use sortie_testkit::{Flow, PodSpec, manifest};
use sortie_tests::api::pod;
use sortie_tests::expect::leaves_by;

use super::{await_status, with_api};

fn table(status: &Value) -> Option<u64> {
    status["tableId"].as_u64()
}

#[test]
fn a_route_keeps_its_table_over_a_restart_that_forgets_everything() -> Result<()> {
    with_api(|lab, scene| {
        let policy = manifest::policy("default", "sip", "podSelector: {matchLabels: {app: sip}}, route: b");
        scene.admin.apply(&manifest::all(&[policy, pod("phone", "sip", sortie_testkit::helper::NODE)]))?;
        let mut helper = scene.helper()?;
        let status = await_status(&scene.admin, &["sor", "b"], |status| table(status).is_some())?;
        let given = table(&status).context("no table")?;
        let phone = scene.network()?.pod(PodSpec::new("phone"))?;
        leaves_by(lab, &phone.namespace, Flow::udp(5060, server4(7000)), "b")?;
        let routes = lab.node.run("ip", &["route", "show", "table", &given.to_string()])?;
        ensure!(routes.contains("default"), "table {given} holds {routes:?}");
        helper.stop()?;
        std::fs::remove_dir_all(lab.path("data"))?;
        // A name that comes first would get the first table.
        scene.admin.run(&["delete", "sor", "c"])?;
        scene.admin.apply(&manifest::route("a"))?;
        helper.restart()?;
        let other = await_status(&scene.admin, &["sor", "a"], |status| table(status).is_some())?;
        ensure!(table(&other) != Some(given), "both have table {given}");
        let status = await_status(&scene.admin, &["sor", "b"], |status| table(status).is_some())?;
        ensure!(table(&status) == Some(given), "{status}");
        leaves_by(lab, &phone.namespace, Flow::udp(5061, server4(7000)), "b")
    })
}

#[test]
fn no_two_routes_share_a_table_whatever_they_ask_for() -> Result<()> {
    with_api(|_, scene| {
        let _helper = scene.helper()?;
        let status = await_status(&scene.admin, &["sor", "b"], |status| table(status).is_some())?;
        let given = table(&status).context("no table")?;
        let asks =
            |name: &str, id: u64| manifest::route_with(name, "{gateway: 172.16.1.1}", &format!("  tableId: {id}\n"));
        let many = (0..8).map(|n| manifest::route_with(&format!("a{n}"), "{gateway: 172.16.1.1}", ""));
        let stage: Vec<String> = many.chain([asks("thief", given), asks("free", 20_000)]).collect();
        scene.admin.apply(&manifest::all(&stage))?;
        let status = await_status(&scene.admin, &["sor", "thief"], |status| status["conditions"].is_array())?;
        let accepted = super::condition(&status, "Accepted");
        ensure!(accepted["status"] == "False" && table(&status).is_none(), "{status}");
        ensure!(accepted["message"].as_str().is_some_and(|m| m.contains("already in use")), "{accepted}");
        for n in 0..8 {
            await_status(&scene.admin, &["sor", &format!("a{n}")], |status| table(status).is_some())?;
        }
        await_status(&scene.admin, &["sor", "free"], |status| table(status) == Some(20_000))?;
        let all = scene.admin.get(&["sor"])?;
        let tables: Vec<u64> =
            all["items"].as_array().into_iter().flatten().filter_map(|route| table(&route["status"])).collect();
        let different: BTreeSet<&u64> = tables.iter().collect();
        ensure!(tables.len() == 11 && different.len() == 11, "{tables:?}");
        Ok(())
    })
}
