//! The scenes: what happens to the node while the pods talk.
//!
//! Guarantees: traffic runs from before the first scene's end to the last scene's end without a pause; each scene is
//! judged from the packets the server saw in it. Leaves out: how packets are seen ([`crate::stage`]).

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sortie_testkit::{Lab, Pod, Stream, kernel, until};

use crate::cast::{self, Line, Role, Route};
use crate::say;
use crate::stage::{FAMILIES, Stage};
use crate::verdict::{self, Expected, Seen, Way};

/// Time between two requests of a flow.
const PACE: Duration = Duration::from_millis(5);
/// Answers of every flow that make a scene complete.
const ENOUGH: u64 = 20;
/// How long that may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A pod on stage.
struct Player {
    pod: Pod,
    lines: Vec<Line>,
    traffic: Stream,
}

/// What the whole came to.
pub(crate) struct Outcome {
    /// Flows that did not do what they must, over all scenes.
    pub(crate) wrong: usize,
    /// Packets of any flow that took a way they may not.
    pub(crate) leaked: u64,
    /// What is left of us after uninstalling.
    pub(crate) residue: Vec<String>,
}

/// The play.
pub(crate) struct Play<'a> {
    stage: Stage<'a>,
    players: Vec<Player>,
    billing: &'static str,
    /// Captured packets that earlier judgements were about.
    judged: usize,
    wrong: usize,
    leaked: u64,
}

impl<'a> Play<'a> {
    /// Everything but the pods.
    pub(crate) fn open(lab: &'a Lab) -> Result<Self> {
        let stage = Stage::open(lab)?;
        Ok(Self { stage, players: Vec::new(), billing: "c", judged: 0, wrong: 0, leaked: 0 })
    }

    /// Pods start and talk from the first instant.
    pub(crate) fn pods_start(&mut self) -> Result<()> {
        say("\n1. pods start: bridge, host-local, portmap and sortie through cnitool; traffic from the first instant");
        for role in cast::roles() {
            self.enter(role)?;
        }
        self.judge(None)
    }

    /// `billing` moves from router c to router b.
    pub(crate) fn route_is_edited(&mut self) -> Result<()> {
        say("\n2. route billing is edited: next hop at router b instead of c");
        let before = self.billing;
        self.stage.lab.manifest("billing.yaml", &cast::billing("b"))?;
        self.billing = "b";
        let start = Instant::now();
        let moved: Vec<(Line, Expected)> =
            self.expected(None).into_iter().filter(|(line, _)| line.route == Route::Billing).collect();
        until(PATIENCE, "the edited route to be used", || self.all_arrive(&moved))
            .with_context(|| self.stage.lab.describe())?;
        say(&format!("   on its new way after {} ms", start.elapsed().as_millis()));
        self.judge(Some(before))?;
        say("   and from then on");
        self.judge(None)
    }

    /// The helper dies; flows go on, pods that ask for nothing start, and it comes back.
    pub(crate) fn helper_is_killed(&mut self) -> Result<()> {
        say("\n3. the helper is killed (kill -9), a pod that asks for nothing starts");
        self.stage.helper.kill9()?;
        self.enter(cast::latecomer())?;
        self.judge(None)?;
        let start = Instant::now();
        self.stage.helper.restart()?;
        say(&format!("   the helper is back, ready after {} ms", start.elapsed().as_millis()));
        self.judge(None)
    }

    /// Somebody removes our rules.
    pub(crate) fn rules_are_flushed(&mut self) -> Result<()> {
        say("\n4. our routing rules are flushed");
        let before = self.stage.rules()?;
        for family in FAMILIES {
            self.stage.lab.node.run("ip", &[family, "rule", "flush", "protocol", "155"])?;
        }
        let start = Instant::now();
        until(PATIENCE, "the rules to be back", || self.stage.rules().is_ok_and(|now| now == before))
            .with_context(|| self.stage.lab.describe())?;
        say(&format!("   {} rules are back after {} ms", before.len(), start.elapsed().as_millis()));
        self.judge(None)
    }

    /// Somebody removes our nft table.
    pub(crate) fn nft_table_is_deleted(&mut self) -> Result<()> {
        say("\n5. our nft table is deleted");
        self.stage.lab.node.nft("delete table inet sortie")?;
        let start = Instant::now();
        let is_back = || kernel::own_table(&self.stage.lab.node).is_ok_and(|table| table.is_some());
        until(PATIENCE, "the table to be back", is_back).with_context(|| self.stage.lab.describe())?;
        say(&format!("   it is back after {} ms", start.elapsed().as_millis()));
        self.judge(None)
    }

    /// Pods go, Sortie is uninstalled.
    pub(crate) fn close(mut self) -> Result<Outcome> {
        say("\n6. pods stop, sortie is uninstalled");
        for Player { pod, traffic, .. } in std::mem::take(&mut self.players) {
            drop(traffic);
            self.stage.cni.del(&pod)?;
        }
        Ok(Outcome { wrong: self.wrong, leaked: self.leaked, residue: self.stage.uninstall()? })
    }

    fn enter(&mut self, role: Role) -> Result<()> {
        let start = Instant::now();
        let pod = self.stage.cni.pod(role.spec).with_context(|| self.stage.lab.describe())?;
        let flows: Vec<_> = role.lines.iter().map(|line| line.flow).collect();
        let traffic = Stream::start(&pod.namespace, &flows, PACE)?;
        let list: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
        say(&format!("   pod {:<9} {:<34} ADD {} ms", pod.spec.name, list.join(" "), start.elapsed().as_millis()));
        self.players.push(Player { pod, lines: role.lines, traffic });
        Ok(())
    }

    /// Waits for enough answers, prints what was expected and seen since the last judgement.
    /// While an edit is on its way, what used router `before` may still do so.
    fn judge(&mut self, before: Option<&'static str>) -> Result<()> {
        let mut late = Vec::new();
        for player in &self.players {
            if let Err(error) = player.traffic.answered(ENOUGH, PATIENCE) {
                late.push(format!("   pod {}: {error}", player.pod.spec.name));
            }
        }
        let (sightings, judged) = self.stage.sightings(self.judged)?;
        self.judged = judged;
        let seen = |line: Line| sightings.get(&line.key()).cloned().unwrap_or_default();
        let rows: Vec<(Expected, Seen)> =
            self.expected(before).into_iter().map(|(line, want)| (want, seen(line))).collect();
        say(&verdict::table(&rows));
        self.leaked += rows.iter().map(|(want, seen)| verdict::leaked(want, seen)).sum::<u64>();
        let wrong = rows.iter().filter(|(want, seen)| !verdict::holds(want, seen)).count() + late.len();
        late.iter().for_each(|line| say(line));
        if wrong > 0 {
            say(&self.stage.lab.describe());
        }
        self.wrong += wrong;
        Ok(())
    }

    fn expected(&self, before: Option<&'static str>) -> Vec<(Line, Expected)> {
        let by = self.billing;
        let of = |player: &Player, line: Line| {
            let way = |router| line.expected(&player.pod.spec.name, &player.pod.addresses, router);
            let old: Option<Way> = before.and_then(|router| way(router).way);
            (line, Expected { before: old, ..way(by) })
        };
        let lines = self.players.iter().flat_map(|player| player.lines.iter().map(move |line| of(player, *line)));
        lines.collect()
    }

    fn all_arrive(&self, moved: &[(Line, Expected)]) -> bool {
        let Ok((sightings, _)) = self.stage.sightings(self.judged) else { return false };
        let arrives = |(line, want): &(Line, Expected)| {
            let way = want.way.as_ref();
            way.is_some_and(|way| sightings.get(&line.key()).is_some_and(|seen| seen.contains_key(way)))
        };
        moved.iter().all(arrives)
    }
}
