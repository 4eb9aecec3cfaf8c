//! What the runtime may say to the plugin.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sortie_testkit::lab::servers;
use sortie_testkit::plugin::{Answer, call};
use sortie_testkit::{Flow, Lab, Main, Network, kernel};
use sortie_tests::expect::leaves_by;
use sortie_tests::{Scene, scenario};

const ENVIRONMENT: [(&str, &str); 5] = [
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", "bad-input"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_NETNS", "/run/netns/none"),
    ("CNI_PATH", "/opt/cni/bin"),
];

fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let others = ENVIRONMENT.into_iter().filter(|(other, _)| *other != name);
    others.chain(Some((name, value)).filter(|(_, value)| !value.is_empty())).collect()
}

/// Our part of the list with a result of the plugins before us.
fn conf(lab: &Lab) -> Result<Value> {
    let previous = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "cni0"}, {"name": "eth0", "sandbox": "/run/netns/none"}],
        "ips": [{"address": "10.244.1.250/24", "interface": 1}],
    });
    Ok(Network::new(lab, Main::Bridge)?.own_part(Some(&previous)))
}

fn refused(answer: &Answer, code: u64, named: &str) -> Result<()> {
    ensure!(!answer.is_success, "it was taken: {}", answer.text);
    ensure!(answer.code()? == code, "expected code {code}: {}", answer.text);
    ensure!(answer.text.contains(named), "expected {named:?}: {}", answer.text);
    Ok(())
}

#[test]
fn standard_input_that_is_no_document_is_error_6_and_leaves_nothing() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("chosen", "b")?;
        let (before, whole) = (kernel::own_state(&lab.node)?, conf(lab)?.to_string());
        let mut strange = whole.clone().into_bytes();
        strange.splice(20..21, [0xff, 0xfe]);
        let inputs: [(&str, Vec<u8>); 5] = [
            ("nothing", Vec::new()),
            ("truncated", whole.as_bytes()[..whole.len() / 2].to_vec()),
            ("oversized", format!("{{\"x\": \"{}\"}}", "y".repeat(5 << 20)).into_bytes()),
            ("nested", format!("{{\"x\": {}{}}}", "[".repeat(50_000), "]".repeat(50_000)).into_bytes()),
            ("not UTF-8", strange),
        ];
        for (name, input) in inputs {
            let answer = call(&lab.node, &ENVIRONMENT, &input)?;
            refused(&answer, 6, "standard input").map_err(|error| error.context(name))?;
            let gone = call(&lab.node, &with("CNI_COMMAND", "DEL"), &input)?;
            ensure!(gone.is_success, "DEL with input that is {name}: {}", gone.text);
        }
        assert_eq!(kernel::own_state(&lab.node)?, before);
        for to in servers(7000) {
            leaves_by(lab, &pod.namespace, Flow::udp(5060, to), "b")?;
        }
        Ok(())
    })
}

#[test]
fn a_configuration_that_lacks_something_is_error_7_and_names_the_key() -> Result<()> {
    scenario(|lab| {
        let _scene = Scene::new(lab, &[])?;
        let whole = conf(lab)?;
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut conf = whole.clone();
            change(&mut conf);
            conf.to_string()
        };
        let cases: [(String, &str); 6] = [
            (changed(&|c| c["prevResult"] = Value::Null), "prevResult"),
            (changed(&|c| c["prevResult"]["ips"] = json!([])), "prevResult.ips"),
            (
                changed(&|c| c["prevResult"]["ips"][0]["address"] = json!("10.244.1.999/24")),
                "prevResult.ips[0].address",
            ),
            (changed(&|c| c["timeoutMilliseconds"] = json!(0)), "timeoutMilliseconds"),
            (changed(&|c| c["whenHelperDown"] = json!("Perhaps")), "whenHelperDown"),
            (changed(&|c| c["helperSocket"] = json!("relative")), "helperSocket"),
        ];
        for (input, named) in cases {
            refused(&call(&lab.node, &ENVIRONMENT, input.as_bytes())?, 7, named)?;
        }
        Ok(())
    })
}

#[test]
fn an_environment_that_lacks_something_is_error_4_and_names_the_variable() -> Result<()> {
    scenario(|lab| {
        let _scene = Scene::new(lab, &[])?;
        let conf = conf(lab)?.to_string();
        for name in ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"] {
            refused(&call(&lab.node, &with(name, ""), conf.as_bytes())?, 4, name)?;
        }
        for (name, value) in [("CNI_CONTAINERID", "../../etc"), ("CNI_IFNAME", "a/b"), ("CNI_COMMAND", "JUMP")] {
            refused(&call(&lab.node, &with(name, value), conf.as_bytes())?, 4, name)?;
        }
        Ok(())
    })
}

#[test]
fn every_version_of_cni_is_served_through_the_whole_chain() -> Result<()> {
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        scenario(|lab| {
            let scene = Scene::on(lab, &[], &Network::new(lab, Main::Bridge)?.version(version))?;
            let pod = scene.pod_by("chosen", "b")?;
            assert_eq!(pod.result["cniVersion"], version);
            for to in servers(7000) {
                leaves_by(lab, &pod.namespace, Flow::udp(5060, to), "b")?;
            }
            if !version.starts_with("0.3") {
                scene.cni.check(&pod)?;
            }
            scene.cni.del(&pod)?;
            ensure!(kernel::elements(&lab.node, "pods4")?.is_empty(), "{version}: something is left");
            Ok(())
        })?;
    }
    Ok(())
}
