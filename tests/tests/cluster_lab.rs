//! The cluster that other tests install into, without our programs: it is what they take it for.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sortie_testkit::kube::Proxy;
use sortie_testkit::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6};
use sortie_testkit::{Flow, poll, probe};

#[path = "cluster/stage.rs"]
mod stage;

use stage::{LIMIT, Stage, at, source};

/// Addresses somebody gave the Service.
const VIPS: [&str; 2] = ["203.0.113.10", "2001:db8:f::10"];

#[test]
fn pods_services_and_nodes_are_those_of_a_real_cluster_and_nothing_stays() -> Result<()> {
    let started = Instant::now();
    let mut stage = Stage::new(|_| {})?;
    eprintln!("cluster and pods in {} ms", started.elapsed().as_millis());
    pods_reach_each_other_under_their_own_addresses(&stage)?;
    pods_reach_services_and_the_server(&stage)?;
    clients_outside_reach_an_address_of_a_load_balancer(&stage)?;
    an_account_may_do_what_its_role_says(&stage)?;
    a_node_comes_back_after_a_power_cut(&mut stage)?;
    eprintln!("all seen after {} ms", started.elapsed().as_millis());
    let traces = Traces::of(&stage);
    drop(stage);
    eprintln!("over after {} ms", started.elapsed().as_millis());
    traces.are_gone()
}

#[test]
fn services_work_with_nftables_and_a_panic_leaves_nothing() -> Result<()> {
    let stage = Stage::new(|setup| (setup.nodes, setup.proxy) = (2, Proxy::Nftables))?;
    let asking = stage.webs(1, |_| true)?;
    let asking = &asking.first().context("no pod on n1")?.name;
    for family in 0..2 {
        stage.ask_soon(asking, &stage.service(family)?)?;
    }
    let node = stage.cluster.node(1)?.inside()?;
    ensure!(node.run("nft", &["list", "table", "ip", "kube-proxy"])?.contains("10.96."), "no rules of kube-proxy");
    let traces = Traces::of(&stage);
    let ended = std::panic::catch_unwind(AssertUnwindSafe(move || {
        let _stage = stage;
        panic!("as a failing test does");
    }));
    ensure!(ended.is_err(), "no panic");
    traces.are_gone()
}

fn pods_reach_each_other_under_their_own_addresses(stage: &Stage) -> Result<()> {
    let first = stage.webs(1, |_| true)?;
    let first = first.first().context("no pod on n1")?;
    for number in 1..=3 {
        let webs = stage.webs(number, |_| true)?;
        ensure!(webs.len() == 3, "{} pods on n{number}", webs.len());
        for web in webs.iter().filter(|web| web.name != first.name) {
            for (to, own) in web.addresses.iter().zip(&first.addresses) {
                assert_eq!(source(&stage.ask(&first.name, &at(to))?)?, *own, "{} on {}", web.name, web.node);
            }
        }
    }
    Ok(())
}

fn pods_reach_services_and_the_server(stage: &Stage) -> Result<()> {
    let webs = stage.webs(2, |_| true)?;
    let web = webs.first().context("no pod on n2")?;
    let outside = [(SERVER4.to_string(), "10.10.0.12"), (SERVER6.to_string(), "fd00:10::12")];
    for (family, (server, node)) in outside.iter().enumerate() {
        stage.ask_soon(&web.name, &stage.service(family)?)?;
        let answer = stage.ask(&web.name, &at(server))?;
        assert_eq!((answer.split(' ').next(), source(&answer)?.as_str()), (Some("a"), *node));
    }
    Ok(())
}

fn clients_outside_reach_an_address_of_a_load_balancer(stage: &Stage) -> Result<()> {
    let ingress = VIPS.map(|ip| json!({"ip": ip, "ipMode": "VIP"}));
    let status = json!({"status": {"loadBalancer": {"ingress": ingress}}}).to_string();
    stage.kubectl.run(&["patch", "service", "web", "--subresource=status", "--type=merge", "-p", &status])?;
    let ([vip4, vip6], client) = (VIPS, &stage.cluster.site.routers[0]);
    client.ip(&format!(
        "route add {vip4} via 10.10.0.13 src {}\n-6 route add {vip6} via fd00:10::13 src {}",
        CLIENT4[0], CLIENT6[0]
    ))?;
    for (vip, own) in VIPS.iter().zip([CLIENT4[0].to_string(), CLIENT6[0].to_string()]) {
        let to = at(vip).parse().context("no address")?;
        let asked = || probe(client, Flow::udp(0, to), std::time::Duration::from_secs(1)).ok().flatten();
        let seen = poll(LIMIT, "an answer from the load balancer", asked)?;
        assert_eq!((seen.door.as_str(), seen.source.ip().to_canonical().to_string()), ("pod", own));
    }
    Ok(())
}

fn an_account_may_do_what_its_role_says(stage: &Stage) -> Result<()> {
    let ask = |what: &str| stage.kubectl.output(&["exec", "reader", "--", "/kubectl", "get", "-o", "name", what]);
    let pods = ask("pods")?;
    ensure!(String::from_utf8_lossy(&pods.stdout).contains("pod/web-"), "{pods:?}");
    let secrets = ask("secrets")?;
    ensure!(String::from_utf8_lossy(&secrets.stderr).contains("Forbidden"), "{secrets:?}");
    Ok(())
}

fn a_node_comes_back_after_a_power_cut(stage: &mut Stage) -> Result<()> {
    let before = stage.webs(2, |_| true)?.len();
    stage.cluster.cut(2)?;
    stage.cluster.boot(2)?;
    let is_again = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"].as_u64() > Some(0) && status["ready"] == true
    };
    let again = || stage.webs(2, is_again).ok().filter(|webs| webs.len() == before);
    let webs = poll(LIMIT, "pods of a node that came back", again).with_context(|| stage.cluster.account())?;
    stage.cluster.await_ready()?;
    let other = stage.webs(1, |_| true)?;
    let other = other.first().context("no pod on n1")?;
    for web in &webs {
        for (family, to) in web.addresses.iter().enumerate() {
            assert_eq!(source(&stage.ask_soon(&other.name, &at(to))?)?, other.addresses[family]);
            stage.ask_soon(&web.name, &stage.service(family)?)?;
        }
    }
    Ok(())
}

/// What a cluster could leave behind.
struct Traces {
    prefix: String,
    folder: PathBuf,
}

impl Traces {
    fn of(stage: &Stage) -> Self {
        let site = &stage.cluster.site;
        let prefix = site.switch.name().trim_end_matches("switch").to_owned();
        Self { prefix, folder: site.net().scratch().path().to_path_buf() }
    }

    fn are_gone(&self) -> Result<()> {
        ensure!(!self.folder.exists(), "{} is left", self.folder.display());
        let folder = self.folder.to_string_lossy();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("no mounts")?;
        ensure!(!mounts.contains(&*folder) && !mounts.contains(&self.prefix), "mounts are left: {mounts}");
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").context("no control groups")?.flatten();
        let mut places: Vec<PathBuf> = hierarchies.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        places.push("/run/netns".into());
        for place in places {
            for entry in std::fs::read_dir(&place).with_context(|| place.display().to_string())?.flatten() {
                let is_ours = entry.file_name().to_string_lossy().starts_with(&self.prefix);
                ensure!(!is_ours, "{} is left", entry.path().display());
            }
        }
        for entry in std::fs::read_dir("/proc").context("no processes")?.flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            ensure!(!line.contains(&*folder), "still runs: {line}");
        }
        Ok(())
    }
}
