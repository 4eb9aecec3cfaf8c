//! The product on a node: what it writes for so many pods and addresses.
//!
//! Guarantees: the helper wrote everything itself, from manifests, and rests (SIGSTOP) while packets are measured: what
//! is measured is its kernel state. The pods are older than the helper, so no plugin is called for them.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use sortie_testkit::{Process, kernel, poll, programs};

use super::pods;
use super::site::{ADDRESSES, POD_NET, Site, Who};

/// How long it may take to write everything on a busy machine.
const WRITTEN: Duration = Duration::from_secs(300);
/// Pods in one file of manifests.
const FILE: usize = 2000;

/// A helper that rests.
#[derive(Debug)]
pub(super) struct Product {
    _process: Process,
}

/// What is asked of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    /// `--steering`.
    pub(super) steering: &'static str,
    /// Selected pods.
    pub(super) pods: usize,
    /// Addresses of Services; with none, pods leave with the device's.
    pub(super) addresses: usize,
}

impl Product {
    /// Starts it on the node of a site and lets it finish.
    ///
    /// # Errors
    /// When it is not built, or does not finish in time; with its log.
    pub(super) fn start(site: &Site, order: Order) -> Result<Self> {
        let scratch = site.net().scratch();
        let manifests = scratch.folder("manifests")?;
        for (number, text) in documents(order).into_iter().enumerate() {
            std::fs::write(manifests.join(format!("{number}.yaml")), text).context("cannot write manifests")?;
        }
        let mut command = Command::new(programs::ours("sortie-helper")?);
        command.args(["run", "--node", "node1", "--log-level", "warn", "--steering", order.steering]);
        command.arg("--manifests").arg(manifests).arg("--state-dir").arg(scratch.folder("state")?);
        command.arg("--socket").arg(scratch.path().join("helper.sock"));
        let process = Process::start(&site.node, &mut command, &scratch.path().join("helper.log"))?;
        let is_complete = || is_written(site, order).is_ok_and(|written| written) && is_open(site).is_ok();
        poll(WRITTEN, "the helper to finish", || is_complete().then_some(())).with_context(|| process.log())?;
        process.signal(Signal::SIGSTOP)?;
        Ok(Self { _process: process })
    }
}

/// Whether the kernel holds everything. The helper is not asked: a node with thousands of Services keeps it busy.
fn is_written(site: &Site, order: Order) -> Result<bool> {
    let holds = |name: &str, count: usize| Ok::<_, anyhow::Error>(kernel::elements(&site.node, name)?.len() == count);
    if !holds("sel4", order.pods)? || !holds("kvip4", order.addresses)? {
        return Ok(false);
    }
    // Two for each pod, with and without its mark, besides those of the routes.
    Ok(order.steering != "rules" || kernel::own_rules(&site.node, "-4")?.len() > 2 * order.pods)
}

/// Whether both pods are answered, on flows that are judged anew.
fn is_open(site: &Site) -> Result<()> {
    site.forget()?;
    site.begin(Who::Selected)?;
    site.begin(Who::Other)
}

/// Manifests, each small enough for one file.
fn documents(order: Order) -> Vec<String> {
    let mut first = format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: node1}}\nspec: {{podCIDRs: [{POD_NET}]}}\n\
         status: {{addresses: [{{type: InternalIP, address: 10.10.0.11}}]}}\n---\n\
         apiVersion: sortie.dev/v1alpha1\nkind: ServiceOutboundRoute\nmetadata: {{name: b}}\n\
         spec: {{nextHops: [{{gateway: 172.16.1.1, device: eth1}}], allowedNamespaces: {{from: All}}}}\n"
    );
    if order.addresses == 0 {
        first += "---\napiVersion: sortie.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {name: all, namespace: default}\n\
                  spec: {podSelector: {matchExpressions: [{key: app, operator: Exists}]}, route: b}\n";
    } else {
        first += &services(order.addresses);
    }
    let _ = write!(first, "---\n{}", pod("other", Who::Other.address(), ""));
    let all = pods::addresses(order.pods);
    let one = |(number, address): (usize, &std::net::Ipv4Addr)| {
        let app = format!(", labels: {{app: s{}}}", number % order.addresses.max(1));
        pod(&format!("p{number}"), *address, &app)
    };
    let pods: Vec<String> = all.iter().enumerate().map(one).collect();
    std::iter::once(first).chain(pods.chunks(FILE).map(|file| file.join("---\n"))).collect()
}

fn services(count: usize) -> String {
    let mut text = format!(
        "---\napiVersion: sortie.dev/v1alpha1\nkind: AddressPool\nmetadata: {{name: outer}}\n\
         spec: {{addresses: [{ADDRESSES}], devices: [eth1], allowedNamespaces: {{from: All}}}}\n"
    );
    for number in 0..count {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: default, \
             annotations: {{sortie.dev/egress: \"true\", sortie.dev/route: b}}}}\n\
             spec: {{type: LoadBalancer, loadBalancerClass: sortie.dev/vip, selector: {{app: s{number}}}, \
             ipFamilies: [IPv4], ports: [{{protocol: UDP, port: 5060}}]}}\n"
        );
    }
    text
}

fn pod(name: &str, address: std::net::Ipv4Addr, labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default{labels}}}\n\
         spec: {{nodeName: node1}}\nstatus: {{podIPs: [{{ip: {address}}}]}}\n"
    )
}
