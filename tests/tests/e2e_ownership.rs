//! Several nodes could own an address, and one does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where its assumption does")]

#[path = "ownership/attacks.rs"]
mod attacks;
#[path = "ownership/rows.rs"]
mod rows;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sortie_testkit::cluster::{Cluster, SERVER, manifests, overlaps};
use sortie_testkit::{Capture, Flow, Stream, until};

const VIP: &str = "172.16.1.200";
const PACE: Duration = Duration::from_millis(5);
/// Longest time for a busy machine to agree.
const AGREE: Duration = Duration::from_secs(30);

fn vip() -> IpAddr {
    VIP.parse().unwrap()
}

/// A cluster whose helpers run, traffic of every pod, and a capture at the switch.
struct Scene {
    cluster: Cluster,
    streams: Vec<Stream>,
    capture: Capture,
}

impl Scene {
    fn new(count: usize) -> Result<Self> {
        let mut cluster = Cluster::new(count)?;
        cluster.manifest("all.yaml", &manifests(count))?;
        for number in 1..=count {
            cluster.start(number)?;
        }
        let capture = Capture::start(&cluster.switch)?;
        let flow = Flow::udp(5060, SERVER.into());
        let stream = |node: &sortie_testkit::cluster::ClusterNode| Stream::start(&node.pod, &[flow], PACE);
        let streams = cluster.nodes.iter().map(stream).collect::<Result<_>>()?;
        Ok(Self { cluster, streams, capture })
    }

    /// Moments at which a node sent with the address.
    fn sent_by(&self, number: usize) -> Result<Vec<Instant>> {
        let port = format!("n{number}o");
        let packets = self.capture.packets()?;
        let own = packets.iter().filter(|c| c.device == port && c.is_incoming && c.packet.source == vip());
        Ok(own.map(|c| c.at).collect())
    }

    /// Whether the pod of a node is answered from now on.
    fn is_served(&self, number: usize) -> Result<()> {
        self.streams[number - 1].answered(20, AGREE).with_context(|| self.cluster.logs())
    }

    /// No two nodes sent with the address at one time, and no pod's own address left.
    fn nobody_overlaps(&self) -> Result<()> {
        let count = overlaps(&self.capture.packets()?, vip());
        ensure!(count == 0, "two nodes sent with the address at one time, {count} times\n{}", self.cluster.logs());
        let strays = self
            .capture
            .packets()?
            .into_iter()
            .filter(|c| c.is_incoming && c.packet.destination_port == SERVER.1 && c.packet.source != vip());
        ensure!(strays.count() == 0, "a packet left with another address");
        Ok(())
    }

    /// Prints how long nobody sent with the address between two owners.
    fn tell_silence(&self, what: &str, (old, new): (usize, usize)) -> Result<()> {
        let (old, new) = (self.sent_by(old)?, self.sent_by(new)?);
        let last = old.last().context("the old owner sent nothing")?;
        let silence = new.iter().find(|at| *at > last).map(|first| *first - *last);
        eprintln!("{what}: nobody sent for {silence:?}");
        Ok(())
    }

    fn others(&self, number: usize) -> Vec<usize> {
        self.cluster.nodes.iter().map(|node| node.number).filter(|n| *n != number).collect()
    }
}

fn all(count: usize) -> Vec<usize> {
    (1..=count).collect()
}

#[test]
fn three_nodes_agree_on_one_owner_and_only_its_pod_leaves() -> Result<()> {
    let scene = Scene::new(3)?;
    let owner = scene.cluster.await_owner(&all(3), AGREE)?;
    scene.is_served(owner)?;
    for other in scene.others(owner) {
        ensure!(scene.sent_by(other)?.is_empty(), "n{other} sent with the address");
    }
    scene.nobody_overlaps()
}

#[test]
fn another_node_takes_over_when_the_owners_helper_is_killed() -> Result<()> {
    for count in [2, 3] {
        let scene = Scene::new(count)?;
        let owner = scene.cluster.await_owner(&all(count), AGREE)?;
        scene.is_served(owner)?;
        scene.cluster.signal(owner, Signal::SIGKILL)?;
        let next = scene.cluster.await_owner(&scene.others(owner), AGREE)?;
        scene.is_served(next)?;
        scene.tell_silence(&format!("killed, {count} nodes"), (owner, next))?;
        scene.nobody_overlaps().with_context(|| format!("{count} nodes"))?;
    }
    Ok(())
}

#[test]
fn a_hung_helper_falls_silent_by_itself() -> Result<()> {
    let scene = Scene::new(3)?;
    let owner = scene.cluster.await_owner(&all(3), AGREE)?;
    scene.is_served(owner)?;
    scene.cluster.signal(owner, Signal::SIGSTOP)?;
    let next = scene.cluster.await_owner(&scene.others(owner), AGREE)?;
    scene.is_served(next)?;
    scene.tell_silence("hung", (owner, next))?;
    scene.cluster.signal(owner, Signal::SIGCONT)?;
    ensure!(scene.cluster.await_owner(&all(3), AGREE)? == next, "the address went back without need");
    scene.is_served(next)?;
    scene.nobody_overlaps()
}

#[test]
fn an_orderly_end_hands_over() -> Result<()> {
    let mut scene = Scene::new(3)?;
    let owner = scene.cluster.await_owner(&all(3), AGREE)?;
    scene.is_served(owner)?;
    scene.cluster.stop(owner)?;
    let next = scene.cluster.await_owner(&scene.others(owner), AGREE)?;
    scene.is_served(next)?;
    scene.tell_silence("orderly end", (owner, next))
}

#[test]
fn pods_beside_a_helper_that_ended_in_order_go_on_by_the_next_owner() -> Result<()> {
    let mut scene = Scene::new(3)?;
    let owner = scene.cluster.await_owner(&all(3), AGREE)?;
    all(3).into_iter().try_for_each(|number| scene.is_served(number))?;
    scene.cluster.stop(owner)?;
    let next = scene.cluster.await_owner(&scene.others(owner), AGREE)?;
    scene.is_served(next)?;
    scene.is_served(owner).context("the pod beside the helper that ended")
}

#[test]
fn a_node_whose_device_goes_down_gives_the_address_away() -> Result<()> {
    let scene = Scene::new(3)?;
    let owner = scene.cluster.await_owner(&all(3), AGREE)?;
    scene.is_served(owner)?;
    scene.cluster.nodes[owner - 1].namespace.ip("link set dev eth1 down")?;
    let moved = || scene.cluster.await_owner(&all(3), Duration::from_millis(500)).is_ok_and(|now| now != owner);
    until(AGREE, "another owner", moved).with_context(|| scene.cluster.logs())?;
    let next = scene.cluster.await_owner(&all(3), AGREE)?;
    scene.is_served(next)?;
    scene.nobody_overlaps()
}

#[test]
fn a_restarted_helper_of_the_only_survivor_keeps_nothing_it_may_not() -> Result<()> {
    let mut scene = Scene::new(3)?;
    let owner = scene.cluster.await_owner(&all(3), AGREE)?;
    scene.is_served(owner)?;
    for other in scene.others(owner) {
        scene.cluster.signal(other, Signal::SIGKILL)?;
    }
    // Without a majority the permission runs out.
    let silent = || {
        let before = scene.sent_by(owner).map(|times| times.len()).unwrap_or(0);
        let sent = scene.streams[owner - 1].sent(60, AGREE).is_ok();
        sent && scene.sent_by(owner).is_ok_and(|times| times.len() == before)
    };
    until(AGREE, "the owner to fall silent", silent)?;
    scene.cluster.start(scene.others(owner)[0])?;
    let pair = [owner, scene.others(owner)[0]];
    let next = scene.cluster.await_owner(&pair, AGREE)?;
    scene.is_served(next)
}

#[test]
fn a_station_that_is_no_node_keeps_its_address() -> Result<()> {
    let mut cluster = Cluster::new(3)?;
    cluster.router.ip(&format!("addr add {VIP}/32 dev node"))?;
    cluster.manifest("all.yaml", &manifests(3))?;
    for number in all(3) {
        cluster.start(number)?;
    }
    let reported = || {
        all(3).into_iter().any(|number| {
            cluster.status(number).is_ok_and(|status| status.to_string().contains("a station that is no node"))
        })
    };
    until(AGREE, "the conflict to be reported", reported).with_context(|| cluster.logs())?;
    let owned = |number: usize| cluster.status(number).is_ok_and(|s| s["addresses"][0]["owner"].is_string());
    ensure!(!all(3).into_iter().any(owned), "somebody owns it");
    Ok(())
}
