//! The next owner of an address knows the connections of the last one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where its assumption does")]

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use sortie_testkit::cluster::{Cluster, SERVER, manifests};
use sortie_testkit::{Flow, Stream, kernel, until};

const VIP: &str = "172.16.1.200";
const PACE: Duration = Duration::from_millis(5);
/// Longest time for a busy machine to agree.
const AGREE: Duration = Duration::from_secs(10);
const COUNT: usize = 3;

fn all() -> Vec<usize> {
    (1..=COUNT).collect()
}

fn others(number: usize) -> Vec<usize> {
    all().into_iter().filter(|other| *other != number).collect()
}

fn running() -> Result<Cluster> {
    let mut cluster = Cluster::new(COUNT)?;
    cluster.manifest("all.yaml", &manifests(COUNT))?;
    for number in all() {
        cluster.start(number)?;
    }
    Ok(cluster)
}

/// Whether a node holds the call of a pod to the server, with the address.
fn holds(cluster: &Cluster, node: usize, pod: usize) -> bool {
    let call = format!("src=10.244.{pod}.2 dst={} sport=5060", SERVER.0);
    let found = kernel::connections(&cluster.nodes[node - 1].namespace, &call).unwrap_or_default();
    found.iter().any(|line| line.contains(&format!("dst={VIP}")) && !line.contains("[UNREPLIED]"))
}

fn inherits(end: impl Fn(&mut Cluster, usize) -> Result<()>) -> Result<()> {
    let mut cluster = running()?;
    let owner = cluster.await_owner(&all(), AGREE)?;
    let stream = Stream::start(&cluster.nodes[owner - 1].pod, &[Flow::udp(5060, SERVER.into())], PACE)?;
    stream.answered(200, AGREE).with_context(|| cluster.logs())?;
    end(&mut cluster, owner)?;
    let next = cluster.await_owner(&others(owner), AGREE)?;
    until(AGREE, "the connection at the next owner", || holds(&cluster, next, owner)).with_context(|| cluster.logs())
}

#[test]
fn connections_are_there_when_the_owners_helper_was_killed() -> Result<()> {
    inherits(|cluster, owner| cluster.signal(owner, Signal::SIGKILL))
}

#[test]
fn connections_are_there_after_an_orderly_end() -> Result<()> {
    inherits(Cluster::stop)
}

#[test]
fn connections_are_there_when_the_owner_lost_its_device() -> Result<()> {
    inherits(|cluster, owner| cluster.nodes[owner - 1].namespace.ip("link set dev eth1 down"))
}
