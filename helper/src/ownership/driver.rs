//! The thread's loop: inputs from everywhere into the machine.

mod actions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use sortie_core::model::ObjectName;
use sortie_core::ownership::{Action, Identity, Input, Machine, Message, Millis, NodeNumber, Presence, Reach, Table};
use sortie_kernel::announce::Prober;
use sortie_kernel::blocking::Elements;
use sortie_peer::{PeerEvent, Peers, Tuning};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::words::{Dealings, Heard};
use super::{Command, Holdings, Plan, Setup};
use crate::replication::Streams;
use crate::store;

/// Changes of the table that one run can make before its versions reach those of a run a millisecond later.
const CHANGES: u32 = 12;

/// Longest silence of a daemon that works: one run of `nft` has ten seconds.
const HUNG: Duration = Duration::from_secs(15);

/// What survives the helper.
#[derive(Default, Serialize, Deserialize)]
struct Saved {
    incarnation: u64,
    table: Table,
}

pub(super) struct Driver {
    machine: Machine,
    peers: Peers,
    events: mpsc::Receiver<PeerEvent>,
    lease: Elements,
    probes: JoinSet<Input>,
    prober: Arc<Prober>,
    plan: Plan,
    heard: Heard,
    /// What this node does for others.
    dealings: Dealings,
    /// Whether another owner may be known than was told.
    owners: Owners,
    saved: Saved,
    file: PathBuf,
    /// Gets the ways to and from the peers, once.
    streams: Option<oneshot::Sender<Streams>>,
    is_leaving: bool,
    heard_daemon: Instant,
    /// Whether the daemon has not been heard for too long.
    is_orphan: bool,
    now: Holdings,
    told: watch::Sender<Holdings>,
}

/// Whether the owners that were told are still those that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owners {
    Told,
    Unsettled,
}

impl Driver {
    pub(super) fn open(setup: Setup, plan: Plan, told: watch::Sender<Holdings>) -> anyhow::Result<Self> {
        let before = store::read::<Saved>(&setup.file)?.unwrap_or_default();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let nanoseconds = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        let incarnation = nanoseconds.max(before.incarnation.saturating_add(1));
        let version = (nanoseconds / 1_000_000) << CHANGES;
        let node = NodeNumber(setup.node);
        let peer_setup = sortie_peer::Setup {
            node: setup.node,
            incarnation,
            key: setup.key,
            seed: nanoseconds,
            tuning: Tuning::default(),
        };
        let (peers, events) = Peers::start(peer_setup, setup.listen);
        Ok(Self {
            machine: Machine::new(node, version.max(before.table.version.saturating_add(1)), clock()?),
            peers,
            events,
            lease: Elements::open_as(&setup.own)?,
            probes: JoinSet::new(),
            prober: Arc::default(),
            plan,
            heard: Heard::default(),
            dealings: Dealings::default(),
            owners: Owners::Unsettled,
            saved: Saved { incarnation, table: before.table },
            file: setup.file,
            streams: Some(setup.streams),
            is_leaving: false,
            heard_daemon: Instant::now(),
            is_orphan: false,
            now: Holdings::default(),
            told,
        })
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) -> anyhow::Result<()> {
        self.begin().await?;
        while !self.now.has_left {
            self.feel_pulse().await?;
            let wait = self.machine.next_wakeup().map_or(1000, |at| at.since(clock().unwrap_or_default()));
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.obey(command).await?,
                    None => break,
                },
                event = self.events.recv() => match event {
                    Some(event) => self.hear(event).await?,
                    None => anyhow::bail!("peer traffic has ended"),
                },
                Some(probed) = self.probes.join_next() => self.input(probed.context("a probe failed")?).await?,
                () = tokio::time::sleep(Duration::from_millis(wait)) => self.input(Input::Tick).await?,
            }
        }
        self.peers.leave().await.context("leave the peers")
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        let streams = Streams { followers: self.peers.followers().await?, follow: self.peers.follow() };
        let _ = self.streams.take().map(|wanted| wanted.send(streams));
        let plan = std::mem::take(&mut self.plan);
        self.configure(plan).await?;
        let left = u64::try_from(self.lease.lease_left()?.as_millis()).unwrap_or(0);
        let now = clock()?;
        let lease = (left > 0).then(|| now.plus(left));
        let actions = self.machine.start(now, &self.saved.table.clone(), lease);
        if !actions.iter().any(|action| matches!(action, Action::Publish { .. })) {
            self.publish().await?;
        }
        self.act(actions).await?;
        self.now.decided = true;
        self.tell();
        Ok(())
    }

    async fn obey(&mut self, command: Command) -> anyhow::Result<()> {
        self.heard_daemon = Instant::now();
        self.feel_pulse().await?;
        match command {
            Command::Alive => Ok(()),
            Command::Plan(plan) => self.configure(plan).await,
            Command::Programmed(claims, dealings) => self.programmed(claims, dealings).await,
            Command::Gossip(reply) => {
                let _ = reply.send((self.peers.refusals().await?, self.heard.alive()));
                Ok(())
            }
            Command::Leave => {
                self.is_leaving = true;
                self.input(Input::Leave).await
            }
        }
    }

    /// Whoever learns that an address is owned here learns at once how to send for it.
    async fn programmed(&mut self, claims: BTreeMap<ObjectName, u64>, dealings: Dealings) -> anyhow::Result<()> {
        let is_new = dealings != self.dealings;
        self.dealings = dealings;
        let claims = claims.into_iter().map(|(service, epoch)| Input::Programmed(identity(&service), epoch));
        let inputs = claims.chain(is_new.then_some(Input::Beside)).collect();
        self.inputs(inputs).await
    }

    /// Nobody programs or answers while the daemon hangs, so another node had better own.
    async fn feel_pulse(&mut self) -> anyhow::Result<()> {
        let hangs = self.heard_daemon.elapsed() > HUNG;
        if hangs == self.is_orphan {
            return Ok(());
        }
        self.is_orphan = hangs;
        log::warn!("the daemon hangs={hangs}");
        let presence = |unit: &super::Unit| if hangs { Presence::Down } else { unit.presence };
        let devices = self.plan.units.iter().map(|(identity, unit)| Input::Device(identity.clone(), presence(unit)));
        self.inputs(devices.collect()).await
    }

    /// Tells the machine what differs from the plan before.
    async fn configure(&mut self, plan: Plan) -> anyhow::Result<()> {
        if plan.peers != self.plan.peers {
            self.peers.set_peers(plan.peers.clone()).await?;
        }
        let close = plan.units.values().flat_map(|unit| &unit.config.candidates).map(|node| node.0);
        self.peers.set_close_peers(close.collect()).await?;
        let before = std::mem::replace(&mut self.plan, plan.clone());
        let gone = before.units.keys().filter(|identity| !plan.units.contains_key(*identity));
        let mut inputs: Vec<Input> = gone.map(|identity| Input::Configure(identity.clone(), None)).collect();
        for (identity, unit) in &plan.units {
            let old = before.units.get(identity);
            if old.is_none_or(|old| old.config != unit.config) {
                inputs.push(Input::Configure(identity.clone(), Some(unit.config.clone())));
            }
            if old.is_none_or(|old| old.presence != unit.presence) {
                inputs.push(Input::Device(identity.clone(), unit.presence));
                inputs.extend(hop_follows(identity, unit)?);
            }
        }
        self.inputs(inputs).await
    }

    async fn hear(&mut self, event: PeerEvent) -> anyhow::Result<()> {
        match self.understood(event) {
            Ok(Some(input)) => self.input(input).await,
            Ok(None) => Ok(()),
            Err(error) => {
                log::warn!("what a peer says cannot be used error={error:#}");
                Ok(())
            }
        }
    }

    fn understood(&mut self, event: PeerEvent) -> anyhow::Result<Option<Input>> {
        Ok(Some(match event {
            PeerEvent::Up(node) => self.presence(node, Presence::Up),
            PeerEvent::Down(node) => self.presence(node, Presence::Down),
            PeerEvent::Note(node, bytes) => {
                let message =
                    serde_json::from_slice::<Message>(&bytes).with_context(|| format!("note of node {node}"))?;
                Input::Message(NodeNumber(node), message)
            }
            PeerEvent::Table(node, _, bytes) if !bytes.is_empty() => {
                self.owners = Owners::Unsettled;
                Input::Table(self.heard.learn(node, &bytes)?)
            }
            PeerEvent::Trouble(at, error) => {
                log::error!("peer traffic cannot go on, tried again at={at} error={error}");
                return Ok(None);
            }
            PeerEvent::Heard(..) | PeerEvent::Table(..) => return Ok(None),
        }))
    }

    fn presence(&mut self, node: u16, presence: Presence) -> Input {
        self.heard.presence(node, presence);
        self.owners = Owners::Unsettled;
        Input::Peer(NodeNumber(node), presence)
    }

    async fn input(&mut self, input: Input) -> anyhow::Result<()> {
        self.inputs(vec![input]).await
    }

    async fn inputs(&mut self, inputs: Vec<Input>) -> anyhow::Result<()> {
        let actions = self.machine.handle_all(clock()?, inputs);
        self.act(actions).await?;
        self.tell();
        Ok(())
    }
}

/// The word of the health probes on the next hop stands in the presence already; only of two candidates each asks the
/// next hop itself, all the time.
fn hop_follows(identity: &Identity, unit: &super::Unit) -> anyhow::Result<Option<Input>> {
    if unit.config.candidates.len() == 2 {
        return Ok(None);
    }
    let reach = if unit.presence == Presence::Up { Reach::Reached } else { Reach::Lost };
    Ok(Some(Input::NextHop { identity: identity.clone(), sent: clock()?, reach }))
}

/// The identity of a Service's addresses.
pub(crate) fn identity(service: &ObjectName) -> Identity {
    Identity(format!("service/{service}"))
}

/// A clock that goes on while the machine sleeps, and over restarts of the helper.
fn clock() -> anyhow::Result<Millis> {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).context("read the clock")?;
    let milliseconds = time.tv_sec().saturating_mul(1000).saturating_add(time.tv_nsec() / 1_000_000);
    Ok(Millis(u64::try_from(milliseconds).unwrap_or(0)))
}
