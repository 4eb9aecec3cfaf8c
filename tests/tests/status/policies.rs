//! What policies count, what routes say of the kernel, and what kubectl shows of both.

use anyhow::{Result, ensure};
use serde_json::Value;
use sortie_testkit::helper::NODE;
use sortie_testkit::{PodSpec, manifest};
use sortie_tests::api::{ApiScene, pod};

use super::{await_status, condition, with_api};

fn is(kind: &'static str, status: &'static str, reason: &'static str) -> impl Fn(&Value) -> bool {
    move |object| condition(object, kind)["status"] == status && condition(object, kind)["reason"] == reason
}

/// The columns of one object by their heads.
fn columns(scene: &ApiScene<'_>, words: &[&str]) -> Result<Vec<(String, String)>> {
    let text = scene.admin.run(&[&["get"], words].concat())?;
    let mut lines = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let (heads, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    Ok(heads.into_iter().zip(values).collect())
}

fn shows(scene: &ApiScene<'_>, words: &[&str], wanted: &[(&str, &str)]) -> Result<()> {
    let columns = columns(scene, words)?;
    for (head, value) in wanted {
        ensure!(columns.iter().any(|(h, v)| h == head && v == value), "{head}={value} is not in {columns:?}");
    }
    Ok(())
}

#[test]
fn a_policy_counts_its_pods_and_those_that_can_leave() -> Result<()> {
    with_api(|lab, scene| {
        let policy = manifest::policy("default", "sip", "podSelector: {matchLabels: {app: sip}}, route: b");
        let pods = ["one", "two"].map(|name| pod(name, "sip", NODE));
        scene.admin.apply(&manifest::all(&[vec![policy, pod("else", "web", NODE)], pods.to_vec()].concat()))?;
        let _helper = scene.helper()?;
        let counts = |matched: u64, programmed: u64| {
            move |status: &Value| status["matchedPods"] == matched && status["programmedPods"] == programmed
        };
        let object = ["egp", "sip"];
        await_status(&scene.admin, &object, counts(0, 0))?;
        let network = scene.network()?;
        let _pods = ["one", "two", "else"].map(|name| network.pod(PodSpec::new(name)));
        let status = await_status(&scene.admin, &object, counts(2, 2))?;
        ensure!(is("Programmed", "True", "Programmed")(&status), "{status}");
        ensure!(condition(&status, "Programmed")["observedGeneration"] == 1, "{status}");
        shows(&scene, &["egp", "sip"], &[("PODS", "2"), ("READY", "2"), ("PROGRAMMED", "True")])?;
        lab.node.ip("link set eth1 down")?;
        let status = await_status(&scene.admin, &object, counts(2, 0))?;
        ensure!(is("Programmed", "False", "DeviceMissing")(&status), "{status}");
        shows(&scene, &["egp", "sip"], &[("PODS", "2"), ("READY", "0"), ("PROGRAMMED", "False")])?;
        lab.node.ip("link set eth1 up")?;
        await_status(&scene.admin, &object, counts(2, 2))?;
        Ok(())
    })
}

#[test]
fn a_route_is_not_programmed_while_its_device_is_missing() -> Result<()> {
    with_api(|lab, scene| {
        let _helper = scene.helper()?;
        let object = ["sor", "b"];
        let status = await_status(&scene.admin, &object, is("Programmed", "True", "Programmed"))?;
        ensure!(condition(&status, "Programmed")["observedGeneration"] == 1, "{status}");
        shows(&scene, &["sor", "b"], &[("EXITS", "1"), ("PROGRAMMED", "True"), ("REACHABLE", "True")])?;
        lab.node.ip("link set eth1 name gone0")?;
        let status = await_status(&scene.admin, &object, is("Programmed", "False", "DeviceMissing"));
        lab.node.ip("link set gone0 name eth1")?;
        ensure!(condition(&status?, "NextHopsReachable")["status"] == "False", "there is a way");
        lab.node.ip("link set eth1 up")?;
        // A change of spec is judged anew, and says so.
        scene.admin.run(&["patch", "sor", "b", "--type=merge", "-p", r#"{"spec":{"mtu":1400}}"#])?;
        await_status(&scene.admin, &object, |status| condition(status, "Accepted")["observedGeneration"] == 2)?;
        Ok(())
    })
}
