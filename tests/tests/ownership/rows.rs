//! What can happen to the owner's node and to the networks: nobody sends beside another, and service goes on.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::{AGREE, Scene, all};

/// A served cluster of three and its owner.
fn served() -> Result<(Scene, usize)> {
    let scene = Scene::new(3)?;
    let owner = scene.cluster.await_owner(&all(3), AGREE)?;
    for number in all(3) {
        scene.is_served(number)?;
    }
    Ok((scene, owner))
}

impl Scene {
    /// Takes the cable out of the switch, or puts it back.
    fn cable(&self, number: usize, networks: &[&str], state: &str) -> Result<()> {
        networks.iter().try_for_each(|net| self.cluster.switch.ip(&format!("link set dev n{number}{net} {state}")))
    }

    /// The others agree on one of them, whose pods and the third node's are served.
    fn others_take_over(&self, what: &str, owner: usize) -> Result<usize> {
        let next = self.cluster.await_owner(&self.others(owner), AGREE).context(what.to_owned())?;
        for number in self.others(owner) {
            self.is_served(number).with_context(|| format!("{what}: n{number}"))?;
        }
        self.tell_silence(what, (owner, next))?;
        self.nobody_overlaps().context(what.to_owned())?;
        Ok(next)
    }

    /// Everybody agrees again on an owner, and all pods are served. What the kernel of an old owner had kept for a next hop
    /// that did not answer leaves when it answers again, and does not count.
    fn heals(&self, what: &str) -> Result<()> {
        self.cluster.await_owner(&all(3), AGREE).context(what.to_owned())?;
        for number in all(3) {
            self.is_served(number).with_context(|| format!("{what}: n{number} at once after it"))?;
        }
        self.cluster.await_owner(&all(3), AGREE).context(what.to_owned())?;
        self.capture.clear()?;
        for number in all(3) {
            self.is_served(number).with_context(|| format!("{what}: n{number} after it"))?;
        }
        self.nobody_overlaps().context(what.to_owned())
    }
}

#[test]
fn an_owner_without_any_link_is_replaced_and_comes_back_as_a_candidate() -> Result<()> {
    let (scene, owner) = served()?;
    scene.cable(owner, &["l", "o"], "down")?;
    scene.others_take_over("both links down", owner)?;
    scene.cable(owner, &["l", "o"], "up")?;
    scene.heals("both links down")
}

#[test]
fn an_owner_whose_node_is_powered_off_is_replaced() -> Result<()> {
    let (scene, owner) = served()?;
    scene.cable(owner, &["l", "o"], "down")?;
    scene.cluster.signal(owner, Signal::SIGKILL)?;
    scene.others_take_over("power off", owner).map(drop)
}

#[test]
fn an_owner_that_only_lost_the_other_nodes_falls_silent_and_is_replaced() -> Result<()> {
    let (scene, owner) = served()?;
    scene.cable(owner, &["l"], "down")?;
    scene.others_take_over("lan of the owner down", owner)?;
    // The old owner's pods have nobody to send by, and its own address is not theirs.
    scene.streams[owner - 1].sent(40, AGREE)?;
    scene.nobody_overlaps()?;
    scene.cable(owner, &["l"], "up")?;
    scene.heals("lan of the owner down")
}

#[test]
fn a_node_that_lost_the_others_changes_nothing_for_them() -> Result<()> {
    let (scene, owner) = served()?;
    let [lost, _] = scene.others(owner)[..] else { anyhow::bail!("three nodes") };
    scene.cable(lost, &["l"], "down")?;
    let majority: Vec<usize> = all(3).into_iter().filter(|number| *number != lost).collect();
    scene.streams[lost - 1].sent(200, AGREE)?;
    ensure!(scene.cluster.await_owner(&majority, AGREE)? == owner, "the owner changed");
    for number in &majority {
        scene.is_served(*number)?;
    }
    ensure!(scene.sent_by(lost)?.is_empty(), "the lost node sent with the address");
    scene.cable(lost, &["l"], "up")?;
    scene.heals("lan of another node down")
}
