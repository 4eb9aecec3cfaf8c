//! What a real cluster says of itself: owners of Services, counts of policies, events, probes and metrics of all nodes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sortie_testkit::lab::{GATEWAY4, GATEWAY6};
use sortie_testkit::programs;

#[path = "cluster/objects.rs"]
#[allow(dead_code, reason = "written for the tests of the product")]
mod objects;
#[path = "cluster/product.rs"]
#[allow(dead_code, reason = "written for the tests of the product")]
mod product;

use product::Product;

/// All nodes.
const NODES: [usize; 3] = [1, 2, 3];
/// How long the Service is looked at after a change.
const SILENT: Duration = Duration::from_secs(6);
const READY: &str = "sortie.dev/EgressReady";

fn subjects() -> String {
    let hops = format!("{{gateway: {}, device: eth1}}, {{gateway: \"{}\", device: eth1}}", GATEWAY4[1], GATEWAY6[1]);
    format!(
        "apiVersion: sortie.dev/v1alpha1\nkind: ServiceOutboundRoute\nmetadata: {{name: b}}\n\
         spec: {{nextHops: [{hops}], allowedNamespaces: {{from: All}}}}\n---\n\
         apiVersion: sortie.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {{name: policed, namespace: default}}\n\
         spec: {{podSelector: {{matchLabels: {{app: policed}}}}, route: b}}\n---\n\
         apiVersion: sortie.dev/v1alpha1\nkind: AddressPool\nmetadata: {{name: public}}\n\
         spec: {{addresses: [172.16.1.100/32], allowedNamespaces: {{from: All}}}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: sip, annotations: {{sortie.dev/route: b}}}}\n\
         spec: {{type: LoadBalancer, loadBalancerClass: sortie.dev/vip, allocateLoadBalancerNodePorts: false, \
         selector: {{app: sip}}, ports: [{{port: 5060, protocol: UDP}}]}}\n"
    )
}

fn service(product: &Product) -> Result<Value> {
    product.kubectl.get(&["service", "sip"])
}

fn owner(service: &Value) -> Option<usize> {
    service["metadata"]["annotations"]["sortie.dev/owner-node"].as_str()?.strip_prefix('n')?.parse().ok()
}

fn is_ready(service: &Value) -> bool {
    let mut conditions = service["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == READY && condition["status"] == "True")
}

/// The node that the Service names, once it is one of these and its traffic can leave.
fn await_owner(product: &Product, nodes: &[usize]) -> Result<usize> {
    let named = || service(product).ok().filter(is_ready).as_ref().and_then(owner).filter(|node| nodes.contains(node));
    product.until("an owner in the Service", || named().is_some())?;
    named().context("it was there")
}

/// How often a new owner was told.
fn changes(product: &Product) -> Result<usize> {
    let all = product.kubectl.get(&["events.events.k8s.io"])?;
    let events = all["items"].as_array().into_iter().flatten();
    Ok(events.filter(|event| event["reason"] == "OwnerChanged" && event["regarding"]["name"] == "sip").count())
}

/// Status line and body of what the helper of a node answers.
fn got(product: &Product, node: usize, path: &str) -> Result<(String, String)> {
    let text = product.cluster.node(node)?.inside()?.with(|| {
        let mut stream = TcpStream::connect("127.0.0.1:7344")?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok::<_, anyhow::Error>(text)
    })?;
    let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

#[test]
fn a_cluster_says_who_owns_how_many_pods_there_are_and_what_happens() -> Result<()> {
    let mut product = Product::new()?;
    product.load()?;
    product.install(&programs::workspace().join("install"))?;
    product.kubectl.apply(&subjects())?;
    policies_count_the_pods_of_all_nodes(&product)?;
    metrics_of_all_nodes_agree(&product)?;
    the_service_follows_its_owner_when_the_helper_is_killed(&product)
}

fn policies_count_the_pods_of_all_nodes(product: &Product) -> Result<()> {
    product.deploy(("policed", 6), json!({}))?;
    let nodes: std::collections::BTreeSet<usize> = product.pods("policed")?.iter().map(|pod| pod.node).collect();
    ensure!(nodes.len() == NODES.len(), "not on all nodes: {nodes:?}");
    let row = || product.kubectl.run(&["get", "egp", "policed", "--no-headers"]).unwrap_or_default();
    let shows = |words: &[&str]| row().split_whitespace().skip(1).take(words.len()).eq(words.iter().copied());
    product.until("six pods", || shows(&["b", "Device", "6", "6", "True", "True"])).with_context(row)?;
    product.kubectl.run(&["scale", "deployment", "policed", "--replicas=2"])?;
    product.until("two pods", || shows(&["b", "Device", "2", "2", "True", "True"])).with_context(row)
}

fn metrics_of_all_nodes_agree(product: &Product) -> Result<()> {
    let owner = await_owner(product, &NODES)?;
    for node in NODES {
        for probe in ["/healthz", "/readyz"] {
            let (status, why) = got(product, node, probe)?;
            ensure!(status.contains(" 200 "), "n{node} {probe}: {status} {why}");
        }
        let place = if node == owner { "here" } else { "elsewhere" };
        for line in [&format!("sortie_addresses{{owner=\"{place}\"}} 1"), "sortie_peers{state=\"alive\"} 2"] {
            let has = || got(product, node, "/metrics").is_ok_and(|(_, text)| text.lines().any(|known| known == line));
            product.until(line, has)?;
        }
    }
    Ok(())
}

fn the_service_follows_its_owner_when_the_helper_is_killed(product: &Product) -> Result<()> {
    let first = await_owner(product, &NODES)?;
    let before = changes(product)?;
    let node = product.cluster.node(first)?.inside()?;
    let helper = node.run("pgrep", &["-f", "^/sortie-helper run"])?;
    node.run("kill", &["-9", helper.trim()])?;
    let others: Vec<usize> = NODES.into_iter().filter(|other| *other != first).collect();
    await_owner(product, &others)?;
    product.until("the event", || changes(product).is_ok_and(|now| now > before))?;
    product.cluster.rolled_out(&["daemonset/sortie", "-n", product::SYSTEM])?;
    // On a busy machine the owner may change again; whoever it is, the Service names it.
    let began = Instant::now();
    while began.elapsed() < SILENT {
        let named = || service(product).ok().as_ref().and_then(owner);
        product.until("the Service to name the owner", || named() == product.owner(&NODES).ok())?;
    }
    Ok(())
}
