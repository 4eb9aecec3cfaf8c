//! What is said of objects as a whole.

use anyhow::{Result, ensure};
use sortie_testkit::manifest;

use super::{await_status, condition, with_api};

#[test]
fn a_policy_without_its_route_says_so_until_the_route_is_there() -> Result<()> {
    with_api(|_, scene| {
        let policy = manifest::policy("default", "late", "podSelector: {}, route: late");
        scene.admin.apply(&policy)?;
        let _helper = scene.helper()?;
        let object = ["egp", "late"];
        let is =
            |wanted: &'static str| move |status: &serde_json::Value| condition(status, "Accepted")["status"] == wanted;
        let status = await_status(&scene.admin, &object, is("False"))?;
        ensure!(condition(&status, "Accepted")["reason"] == "RouteNotFound", "{status}");
        scene.admin.apply(&manifest::route_with("late", "{gateway: 172.16.1.1}", ""))?;
        let status = await_status(&scene.admin, &object, is("True"))?;
        let since = &condition(&status, "Accepted")["lastTransitionTime"];
        ensure!(since.is_string(), "{status}");
        // Another reason or message is no transition.
        scene.admin.run(&["delete", "sor", "late"])?;
        await_status(&scene.admin, &object, is("False"))?;
        Ok(())
    })
}

#[test]
fn a_pool_counts_what_it_gave() -> Result<()> {
    with_api(|_, scene| {
        let pool = "apiVersion: sortie.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: small}\n\
                    spec: {addresses: [203.0.113.10-203.0.113.13], allowedNamespaces: {from: All}}\n";
        scene.admin.apply(&manifest::all(&[pool.to_owned(), manifest::service("web", "", "{port: 80}")]))?;
        let _helper = scene.helper()?;
        let object = ["vippool", "small"];
        let counts = |used: u64, free: u64| {
            move |status: &serde_json::Value| status["allocated"] == used && status["free"] == free
        };
        let status = await_status(&scene.admin, &object, counts(1, 3))?;
        ensure!(condition(&status, "Accepted")["status"] == "True", "{status}");
        scene.admin.run(&["delete", "service", "web"])?;
        await_status(&scene.admin, &object, counts(0, 4))?;
        Ok(())
    })
}
