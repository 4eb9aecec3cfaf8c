//! One owner loses its power under traffic.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sortie_testkit::until;

use crate::cluster::{KubeVip, NODES, Stage, Subject, Wire};
use crate::cluster_takeover::calls::Calls;
use crate::cluster_takeover::watch::{Watch, What};
use crate::say;

/// How long pods of a node that boots may take.
const BOOT: Duration = Duration::from_secs(120);

/// What became of it; nothing for what did not come back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Longest time without a new flow that is answered with the address.
    pub(super) new: Option<Duration>,
    /// The same in flows that ran before.
    pub(super) running: Option<Duration>,
    /// Longest time without an answer to a caller.
    pub(super) callers: Option<Duration>,
    /// Datagrams of pods of other nodes that had another address meanwhile.
    pub(super) astray: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { new, running, callers, astray } = self;
        write!(out, "new flows {new:.1?}, running {running:.1?}, callers {callers:.1?}, {astray} packets astray")
    }
}

/// The owner is struck, watched and booted again; nothing when the other product had none in time after its start.
pub(super) fn once(
    (stage, wire): (&mut Stage, &Wire),
    (subject, address): (Subject, IpAddr),
) -> Result<Option<Outcome>> {
    let mut running = stage.start(subject)?;
    let calls = Calls::start(&stage.cluster.site.routers[0], address);
    let mut watch = Watch::new(wire, subject.app(), address)?;
    let Some(owner) = watch.settled(served(subject))? else {
        let running = running.with_context(|| format!("{}\n{}", watch.said(), stage.account(None)))?;
        say(&format!("    {}: {}", subject.name(), watch.said()));
        return running.stop(&stage.cluster).map(|()| None);
    };
    let before = starts(stage, owner)?;
    let struck = strike(stage, running.as_mut(), owner)?;
    watch.again(struck)?;
    let silence = |what| watch.silence(struck, what);
    let outcome = Outcome {
        new: silence(What::New),
        running: silence(What::Running),
        callers: silence(What::Caller),
        astray: watch.astray(struck),
    };
    drop(calls);
    running.map_or(Ok(()), |running| running.stop(&stage.cluster))?;
    boot(stage, owner, &before)?;
    Ok(Some(outcome))
}

/// How many of the three pods have the address at a time, at least.
fn served(subject: Subject) -> usize {
    match subject {
        Subject::Sortie => NODES.len(),
        Subject::KubeVip(_) => 1,
    }
}

/// Cuts the power of a node; when its last packet could leave.
fn strike(stage: &mut Stage, running: Option<&mut KubeVip>, node: usize) -> Result<Instant> {
    stage.cluster.site.switch.ip(&format!("link set dev n{node}l down\nlink set dev n{node}o down"))?;
    let at = Instant::now();
    if let Some(running) = running {
        running.lose(node);
    }
    stage.cluster.cut(node)?;
    Ok(at)
}

/// Boots a node and waits until its pods run again, so that whoever starts next finds everything at rest.
fn boot(stage: &mut Stage, node: usize, before: &BTreeMap<String, u64>) -> Result<()> {
    stage.cluster.boot(node)?;
    stage.cluster.await_ready()?;
    let is_again = |now: &BTreeMap<String, u64>| before.iter().all(|(pod, starts)| now.get(pod) > Some(starts));
    let again = || starts(stage, node).is_ok_and(|now| is_again(&now));
    until(BOOT, "pods of a node that came back", again).with_context(|| stage.account(None))
}

/// How often the containers of pods that are ready on a node have started.
fn starts(stage: &Stage, node: usize) -> Result<BTreeMap<String, u64>> {
    let list =
        stage.kubectl.get(&["pods", "--all-namespaces", "--field-selector", &format!("spec.nodeName=n{node}")])?;
    let pods = list["items"].as_array().context("no list")?.iter().filter_map(|pod| {
        let containers = pod["status"]["containerStatuses"].as_array()?;
        let is_ready = containers.iter().all(|one| one["ready"] == true);
        let count = containers.iter().filter_map(|one| one["restartCount"].as_u64()).min()?;
        is_ready.then(|| Some((pod["metadata"]["name"].as_str()?.to_owned(), count)))?
    });
    Ok(pods.collect())
}
