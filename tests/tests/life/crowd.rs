//! Many at once, and a helper that dies among them. The plugin is called as a runtime calls it, with the result of an
//! interface that need not exist: what is looked at is the kernel of the node.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sortie_testkit::{Lab, Main, Network, kernel, plugin};
use sortie_tests::{Scene, scenario};

/// Attachments in a crowd.
const CROWD: usize = 200;
/// Plugins that run at the same time.
const WORKERS: usize = 20;

fn address(number: usize) -> Ipv4Addr {
    let number = u8::try_from(number).unwrap_or(u8::MAX);
    Ipv4Addr::new(10, 244, 1, number)
}

fn previous(number: usize) -> Value {
    json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": format!("veth{number}")}, {"name": "eth0", "sandbox": format!("/run/netns/none-{number}")}],
        "ips": [{"address": format!("{}/24", address(number)), "interface": 1}],
        "dns": {}
    })
}

/// One command of the runtime for one attachment; its error code, 0 for success.
fn command(lab: &Lab, network: &Network<'_>, verb: &str, number: usize) -> Result<u64> {
    let mut conf = network.own_part(Some(&previous(number)));
    let annotations = json!({"sortie.dev/route": "b", "sortie.dev/ports": "udp:5060"});
    conf["runtimeConfig"] = json!({"io.kubernetes.cri.pod-annotations": annotations});
    call(lab, verb, number, &conf)
}

fn call(lab: &Lab, verb: &str, number: usize, conf: &Value) -> Result<u64> {
    let (id, netns) = (format!("crowd{number}"), format!("/run/netns/none-{number}"));
    let environment = [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", &id),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", &netns),
        ("CNI_PATH", "/nowhere"),
    ];
    plugin::call(&lab.node, &environment, conf.to_string().as_bytes())?.code()
}

/// The command for every attachment of the crowd, by several workers; the codes by number.
fn crowd(lab: &Lab, network: &Network<'_>, verb: &str, count: usize) -> Result<Vec<u64>> {
    let (next, codes) = (AtomicUsize::new(1), Mutex::new(vec![u64::MAX; count + 1]));
    thread::scope(|scope| -> Result<()> {
        let work = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number > count {
                    return Ok(());
                }
                let code = command(lab, network, verb, number)?;
                codes.lock().map_err(|_| anyhow::anyhow!("a worker panicked"))?[number] = code;
            }
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked"))))
    })?;
    let codes = codes.into_inner().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
    Ok(codes[1..].to_vec())
}

#[test]
fn gc_removes_what_the_runtime_does_not_know_any_more() -> Result<()> {
    scenario(|lab| {
        let network = Network::new(lab, Main::Bridge)?;
        let scene = Scene::on(lab, &["--steering", "rules"], &network)?;
        ensure!(crowd(lab, &network, "ADD", 3)?.iter().all(|code| *code == 0), "ADD failed");
        let mut conf = network.own_part(None);
        conf["cni.dev/valid-attachments"] = json!([{"containerID": "crowd2", "ifname": "eth0"}]);
        ensure!(call(lab, "GC", 0, &conf)? == 0, "GC failed");
        let left = kernel::elements(&lab.node, "sel4")?;
        ensure!(left.len() == 1 && left[0].contains(&address(2).to_string()), "elements after GC: {left:?}");
        let rules = kernel::own_rules(&lab.node, "-4")?;
        let of_pods: Vec<&str> =
            rules.iter().filter_map(|r| r["src"].as_str()).filter(|s| s.starts_with("10.244")).collect();
        ensure!(of_pods == ["10.244.1.2", "10.244.1.2"], "rules after GC: {of_pods:?}");
        ensure!(scene.helper.status()?["attachments"] == 1, "attachments after GC");
        Ok(())
    })
}

#[test]
fn two_hundred_pods_come_and_go_at_once() -> Result<()> {
    scenario(|lab| {
        let network = Network::new(lab, Main::Bridge)?;
        let scene = Scene::on(lab, &[], &network)?;
        let before = kernel::own_state(&lab.node)?;
        let codes = crowd(lab, &network, "ADD", CROWD)?;
        ensure!(codes.iter().all(|code| *code == 0), "ADD: {codes:?}");
        ensure!(kernel::elements(&lab.node, "sel4")?.len() == CROWD, "elements are missing");
        let status = scene.helper.status()?;
        ensure!(status["selected"] == CROWD && status["steering"] == "marks", "{status}");
        let codes = crowd(lab, &network, "DEL", CROWD)?;
        ensure!(codes.iter().all(|code| *code == 0), "DEL: {codes:?}");
        sortie_testkit::until(sortie_tests::scene::SOON, "the node to be as before", || {
            kernel::own_state(&lab.node).is_ok_and(|after| sheds(&before, &after))
        })
        .with_context(|| format!("{:#?}", kernel::own_state(&lab.node).map(|after| &after - &before)))
    })
}

/// Nothing is left but what the next full reconcile collects: chains that nobody refers to, and the door.
fn sheds(before: &std::collections::BTreeSet<String>, after: &std::collections::BTreeSet<String>) -> bool {
    (after - before).iter().all(|line| !line.starts_with("element")) && kernel_is_free_of_pods(after)
}

fn kernel_is_free_of_pods(state: &std::collections::BTreeSet<String>) -> bool {
    !state.iter().any(|line| line.contains("10.244.1.") && !line.contains("10.244.1.0"))
}

#[test]
fn a_helper_that_dies_among_adds_leaves_whole_attachments_or_none() -> Result<()> {
    const COUNT: usize = 60;
    scenario(|lab| {
        let network = Network::new(lab, Main::Bridge)?.sortie("timeoutMilliseconds", json!(20_000));
        let mut scene = Scene::on(lab, &["--steering", "rules"], &network)?;
        let codes = thread::scope(|scope| -> Result<Vec<u64>> {
            let adds = scope.spawn(|| crowd(lab, &network, "ADD", COUNT));
            let some = || kernel::elements(&lab.node, "sel4").is_ok_and(|list| list.len() > 5);
            sortie_testkit::until(sortie_tests::scene::SOON, "some pods", some)?;
            scene.helper.kill9()?;
            scene.helper.restart()?;
            adds.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked")))
        })?;
        ensure!(codes.iter().all(|code| *code == 0), "a pod did not survive the restart: {codes:?}");
        let whole = || {
            let rules = kernel::own_rules(&lab.node, "-4").unwrap_or_default();
            let mine = |number: usize| {
                rules.iter().filter(|r| r["src"].as_str() == Some(&address(number).to_string())).count()
            };
            (1..=COUNT).all(|number| mine(number) == 2)
        };
        sortie_testkit::until(sortie_tests::scene::SOON, "two rules for every pod", whole)?;
        let elements = kernel::elements(&lab.node, "sel4")?.len();
        ensure!(elements == COUNT, "{elements} elements for {COUNT} pods");
        ensure!(crowd(lab, &network, "DEL", COUNT)?.iter().all(|code| *code == 0), "DEL failed");
        ensure!(kernel::elements(&lab.node, "sel4")?.is_empty(), "elements are left");
        Ok(())
    })
}
