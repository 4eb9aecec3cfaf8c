//! A cluster's usual life: crowds of pods, an upgrade and its rollback, an API server and daemons of nodes that fail.
//!
//! From the first pod on, everything that reaches the server is looked at on the switch all nodes are plugged into: every
//! packet leaves by the second network, with an address of the Service or, for pods that are annotated, of their node.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sortie_testkit::kube::{Place, list};
use sortie_testkit::{poll, programs};

use crate::objects::{Pods, hold, route, send, service, vips};
use crate::product::Product;
use crate::wire::{Sent, Stream, Tally, Wire};
use crate::{churn, outages, taint, upgrade};

/// All nodes.
pub(crate) const NODES: [usize; 3] = [1, 2, 3];
/// How long a connection may wait, after some losses on a busy machine, until it tries again.
const LONG: Duration = Duration::from_secs(240);
/// Label of the Service's pods.
const MEMBER: (&str, &str) = ("service", "sip");
/// How often a pod sends, in milliseconds.
const PACE: u32 = 500;
/// What the product is installed with, as `install/README.md` shows it.
const TAINTED: &str = "resources: [../install]\ncomponents: [../install/components/startup-taint]\n";
/// Deployments whose pods keep a connection, of version 4 and 6.
pub(crate) const TALKS: [&str; 2] = ["talk", "talk6"];

#[test]
fn nothing_leaks_while_pods_versions_and_the_api_server_come_and_go() -> Result<()> {
    let mut life = Life::new()?;
    churn::a_rolling_restart_of_fifty_pods_leaks_nothing(&life)?;
    churn::pods_of_a_job_leave_right_from_their_first_instruction(&life)?;
    upgrade::an_upgrade_and_its_rollback_break_no_flow_and_no_start(&mut life)?;
    outages::pods_go_on_and_come_again_without_the_api_server(&mut life)?;
    outages::pods_go_on_without_kubelet_and_containerd_of_the_owner(&mut life)?;
    Ok(())
}

/// The cluster with the product, a Service with its own addresses, and pods that send.
pub(crate) struct Life {
    pub(crate) product: Product,
    pub(crate) wire: Wire,
    /// With a copy of `install` and kustomizations over it.
    pub(crate) desk: PathBuf,
    began: Instant,
}

/// How often each container has started, by its pod.
pub(crate) type Restarts = BTreeMap<String, u64>;

impl Life {
    /// Fifty pods `sip` that send and three of each kind that talk have the Service's addresses; three pods `plain` are
    /// annotated.
    pub(crate) fn new() -> Result<Self> {
        let began = Instant::now();
        let mut product = Product::new()?;
        product.load()?;
        let desk = product.cluster.site.net().scratch().folder("desk")?;
        let wire = Wire::new(&product.cluster.site.switch)?;
        let life = Self { product, desk, wire, began };
        let copy = format!("cp -r {} install", programs::workspace().join("install").display());
        life.product.cluster.api.shell(&life.desk)?.run(&copy)?;
        life.overlay("tainted", TAINTED)?;
        taint::pods_wait_until_the_helper_of_a_new_node_is_ready(&life)?;
        life.product.kubectl.apply(&list(&[vec![route()], service(&member())].concat()))?;
        life.product.await_addresses()?;
        life.product.owner(&NODES)?;
        let plain = Pods { labels: json!({}), annotations: json!({"sortie.dev/route": "b"}), ..members("plain") };
        life.product.run(&[(members("sip"), 50), (plain, 3)])?;
        let talk = |family| (Pods { words: hold(family, PACE), ..members(TALKS[family]) }, 3);
        life.product.run(&[talk(0), talk(1)])?;
        life.all_go_on()?;
        life.says("pods")?;
        Ok(life)
    }

    /// Writes a kustomization beside a copy of `install`.
    pub(crate) fn overlay(&self, name: &str, text: &str) -> Result<PathBuf> {
        let folder = self.desk.join(name);
        std::fs::create_dir_all(&folder).context("cannot create a folder")?;
        std::fs::write(folder.join("kustomization.yaml"), text).context("cannot write a kustomization")?;
        Ok(folder)
    }

    /// Progress, for who watches. Fails when something leaked.
    pub(crate) fn says(&self, what: &str) -> Result<()> {
        let packets = self.nothing_leaked()?;
        eprintln!("{:>7} ms  {what}; {packets} packets, leaked 0", self.began.elapsed().as_millis());
        Ok(())
    }

    /// Fails when any packet ever left in a wrong way; how many there were.
    pub(crate) fn nothing_leaked(&self) -> Result<usize> {
        let vips = vips()?;
        let by_vip = |sent: &Sent| sent.port.ends_with('o') && vips.contains(&sent.source);
        let fits = |sent: &Sent| match sent.pod.split('-').next() {
            Some("plain" | "flash" | "early" | "waiting") => by_node(sent),
            Some("") => by_vip(sent) || by_node(sent),
            _ => by_vip(sent),
        };
        self.wire.all(fits).with_context(|| self.product.account())
    }

    /// Waits until every pod that is there sends more, and none that talks had to begin anew.
    pub(crate) fn all_go_on(&self) -> Result<()> {
        let mut pods = Vec::new();
        for app in ["sip", "plain", "talk", "talk6"] {
            pods.extend(self.product.pods(app)?.into_iter().map(|pod| pod.name));
        }
        self.go_on(&pods)
    }

    /// Waits until each of these pods sends more.
    pub(crate) fn go_on(&self, pods: &[String]) -> Result<()> {
        let before = self.wire.tallies()?;
        let more = |now: &BTreeMap<Stream, Tally>, pod: &String| {
            let families = [false, true].map(|six| {
                let key = (pod.clone(), six);
                now.get(&key) > before.get(&key)
            });
            match pod.split('-').next() {
                Some("talk") => families[0],
                Some("talk6") => families[1],
                _ => families[0] && families[1],
            }
        };
        let mut silent = Vec::new();
        let all = || {
            let now = self.wire.tallies().ok()?;
            silent = pods.iter().filter(|pod| !more(&now, pod)).collect();
            silent.is_empty().then_some(())
        };
        let waited = poll(LONG, "more of all pods", all);
        waited.with_context(|| format!("silent: {silent:?}\n{}", self.product.account()))?;
        self.nothing_leaked().map(drop)
    }

    /// How often the pods that talk had to begin.
    pub(crate) fn restarts(&self) -> Result<Restarts> {
        let list = self.product.kubectl.get(&["pods", "-l", "app in (talk,talk6)"])?;
        let count = |pod: &Value| {
            let name = pod["metadata"]["name"].as_str()?.to_owned();
            Some((name, pod["status"]["containerStatuses"][0]["restartCount"].as_u64()?))
        };
        let restarts: Restarts = list["items"].as_array().context("no list")?.iter().filter_map(count).collect();
        ensure!(restarts.len() == 6, "{restarts:?}");
        Ok(restarts)
    }

    /// Fails when a connection broke since `before`.
    pub(crate) fn no_connection_broke(&self, before: &Restarts) -> Result<()> {
        let now = self.restarts()?;
        ensure!(now == *before, "connections broke: {before:?} before, {now:?} now\n{}", self.product.account());
        Ok(())
    }

    /// Waits for the time `until`, looking all the while.
    pub(crate) fn watch_until(&self, until: Instant) -> Result<()> {
        let over = || (Instant::now() >= until).then_some(());
        while poll(Duration::from_secs(5), "the end", over).is_err() {
            self.nothing_leaked()?;
        }
        Ok(())
    }
}

/// By eth1 of some node, with its address.
fn by_node(sent: &Sent) -> bool {
    NODES.iter().any(|node| sent.port == format!("n{node}o") && Place(*node).outer().contains(&sent.source))
}

/// What makes a pod one of the Service's.
pub(crate) fn member() -> Value {
    json!({ MEMBER.0: MEMBER.1 })
}

/// Pods of the Service that send for ever.
pub(crate) fn members(app: &str) -> Pods<'_> {
    Pods { app, labels: member(), annotations: json!({}), words: send(PACE) }
}
