//! The daemon: everything that can happen, one at a time.
//!
//! Guarantees: whatever changes, a reconcile follows; a failed one is repeated at growing intervals; the
//! socket opens after the first verified one. Leaves out: what a reconcile does ([`crate::node`]).

mod asks;
mod clock;
mod figures;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use sortie_kernel::{Event, Events, Linux, Own};
use sortie_peer::Key;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

use crate::catalogue::Catalogue;
use crate::cli::{Replicating, RunOptions};
use crate::health::Health;
use crate::metrics::Tally;
use crate::node::{Node, Settings, chain};
use crate::ownership::{self, Holdings, Ownership, Plan};
use crate::presence::Presence;
use crate::replication::{self, Replication};
use crate::server::{Ask, Server};
use crate::source::Source;
use crate::store::Store;
use crate::{lock, logging, runtime_cache};
use asks::{SETTLE, Told};
use clock::Clock;
use figures::Monitor;

/// Longest time to hand addresses over at the end.
const HANDOVER: Duration = Duration::from_millis(1500);
/// Time in which other nodes, who send here still, learn of the next owner; the permission lasts for longer.
const PASSAGE: Duration = Duration::from_millis(200);
/// Longest time to make this node one that does not own, before that and after it.
const PARTING: Duration = Duration::from_secs(2);
/// Longest time until it is known what of the last helper's addresses is still owned.
const FIRST_DECISION: Duration = Duration::from_secs(2);
/// Time between two signs of life to the thread that decides about ownership.
const PULSE: Duration = Duration::from_secs(1);
/// Longest time at the start until routes without a table have one.
const FIRST_TABLES: Duration = Duration::from_secs(2);
/// Scheduling priority (`nice(2)`): on a busy node the permission to send must be renewed in time.
const NICE: i32 = -10;
/// Requests that may wait.
const QUEUE: usize = 64;

/// Runs until a signal ends it; the kernel's state stays.
pub(crate) fn run(options: &RunOptions) -> anyhow::Result<()> {
    let place = &options.place;
    logging::start(place.log_level, place.log_file.as_deref())?;
    let _lock = lock::take(&place.state_dir)?;
    lock::clear_socket(&place.socket)?;
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        log::warn!("the helper runs with usual priority error={error}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start runtime")?;
    let outcome = runtime.block_on(async { Daemon::start(options).await?.run(Signals::listen()?).await });
    runtime.shutdown_background();
    outcome
}

/// Whether the daemon still has something to hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    Underway,
    Done,
}

/// Waits for a decision about ownership; for ever when nothing is decided here.
async fn decision(ownership: &mut Option<Ownership>) {
    match ownership {
        Some(ownership) => ownership.changed().await,
        None => std::future::pending().await,
    }
}

/// A moment that does not come.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}

/// What ends the daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {} _ = self.interrupt.recv() => {} }
    }
}

struct Daemon {
    options: RunOptions,
    node: Node<Linux>,
    catalogue: Catalogue,
    source: Source,
    /// By whom changes of the kernel are ours.
    own: Own,
    events: Events,
    health: Health,
    presence: Presence,
    key: Option<Key>,
    ownership: Option<Ownership>,
    planned: Plan,
    /// Number and address under which peers know this node.
    place: Option<(u16, IpAddr)>,
    leaving: Option<Instant>,
    asks: (mpsc::Sender<Ask>, mpsc::Receiver<Ask>),
    /// Requests whose pod was asked for.
    told: (mpsc::Sender<Told>, mpsc::Receiver<Told>),
    server: Option<Server>,
    clock: Clock,
    monitor: Monitor,
    tally: Tally,
    began: Instant,
    /// Until when the socket waits for tables of routes.
    patience: Instant,
}

impl Daemon {
    /// Listens first, reads then: nothing that changes in between is missed.
    async fn start(options: &RunOptions) -> anyhow::Result<Self> {
        let began = Instant::now();
        let place = &options.place;
        let key = options.peer_key_file.as_deref().map(Key::read).transpose()?;
        let store = Store::open(&place.state_dir, &place.data_dir)?;
        let linux = Linux::open(place.numbers, store.saved_values()?)?;
        let own = linux.own();
        let events = Events::open(own.clone(), place.numbers)?;
        let source = Source::open(options).await?;
        let settings = Settings {
            node: options.node.clone(),
            numbers: place.numbers,
            cluster_cidrs: options.cluster_cidrs.clone(),
            steering: options.steering,
            rules_max: options.rules_max,
            has_peer_key: key.is_some(),
            giver: source.giver(),
            runtime_cache: runtime_cache::DEFAULT.into(),
        };
        let node = Node::new(settings, linux, store)?;
        let (catalogue, health) = (Catalogue::remembering(node.kept()?), Health::new(node.dead_hops().clone()));
        log::info!("started node={} version={}", options.node, env!("CARGO_PKG_VERSION"));
        Ok(Self {
            options: options.clone(),
            node,
            catalogue,
            source,
            own,
            events,
            health,
            presence: Presence::start(),
            key,
            ownership: None,
            planned: Plan::default(),
            place: None,
            leaving: None,
            asks: mpsc::channel(QUEUE),
            told: mpsc::channel(QUEUE),
            server: None,
            clock: Clock::new(Instant::now()),
            monitor: Monitor::start(options.metrics)?,
            tally: Tally::new(),
            began,
            patience: Instant::now(),
        })
    }

    async fn run(mut self, mut signals: Signals) -> anyhow::Result<()> {
        self.node.learn_devices().await.context("read devices")?;
        tokio::select! {
            () = signals.next() => return Ok(()),
            () = self.source.begin(&self.catalogue) => {}
        }
        self.patience = Instant::now() + FIRST_TABLES;
        self.read_source();
        self.follow_plan().await?;
        let mut pulse = tokio::time::interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = signals.next() => if self.leave() == Leaving::Done { break },
                () = sleep_until(self.leaving.unwrap_or_else(far)) => break,
                Some(ask) = self.asks.1.recv() => self.take(ask).await,
                Some(told) = self.told.1.recv() => self.hear(told).await,
                () = decision(&mut self.ownership) => if self.take_holdings() == Leaving::Done {
                    self.step_down().await;
                    break;
                },
                event = self.events.next() => self.notice(event),
                () = self.source.changed() => {
                    self.read_source();
                    self.follow_plan().await?;
                }
                () = self.health.changed() => self.take_health(),
                () = sleep_until(self.clock.due) => self.reconcile().await?,
                Some(scrape) = self.monitor.scrapes.recv() => self.show(scrape).await,
                _ = pulse.tick() => self.beat(),
            }
        }
        log::info!("stopped node={}", self.options.node);
        Ok(())
    }

    /// Hands over what others could own, and goes on until that is done; a second signal ends it at once.
    fn leave(&mut self) -> Leaving {
        let Some(ownership) = self.ownership.as_ref().filter(|_| self.leaving.is_none()) else { return Leaving::Done };
        ownership.leave();
        self.node.let_pass();
        self.leaving = Some(Instant::now() + HANDOVER);
        Leaving::Underway
    }

    /// Starts to decide with others when there is something to decide, and tells what changed.
    async fn follow_plan(&mut self) -> anyhow::Result<()> {
        let (plan, place) = match (self.node.ownership_plan(), &self.ownership) {
            (Some((me, own, plan)), _) => (plan, Some((me, own))),
            (_, Some(_)) => (Plan::default(), self.place),
            _ => return Ok(()),
        };
        if place != self.place && self.ownership.take().is_some() {
            log::warn!("this node has another number or address and begins anew among its peers");
            self.node.set_holdings(Holdings::default());
        }
        if plan == self.planned && self.ownership.is_some() {
            return Ok(());
        }
        self.planned = plan.clone();
        if let Some(ownership) = &self.ownership {
            ownership.plan(plan);
            return Ok(());
        }
        let (Some((node, own)), Some(key)) = (place, self.key.clone()) else { return Ok(()) };
        let listen = SocketAddr::new(own, self.options.peer_port);
        let file = self.options.place.state_dir.join("ownership.json");
        let (give, streams) = oneshot::channel();
        let mut ownership =
            Ownership::start(ownership::Setup { node, listen, key, own: self.own.clone(), file, streams: give }, plan)?;
        if self.options.replicating == Replicating::On {
            let marks = (self.options.place.numbers.ct_mark, self.options.place.numbers.node_mark);
            let setup = replication::Setup { node, marks, streams, holdings: ownership.watch() };
            self.node.replicate(Replication::start(setup)?);
        }
        log::info!("deciding with others node={node} listen={listen}");
        // What is in the kernel stays there until it is known whether it may.
        let _ = tokio::time::timeout(FIRST_DECISION, ownership.decided()).await;
        self.node.set_holdings(ownership.holdings());
        (self.ownership, self.place) = (Some(ownership), place);
        Ok(())
    }

    /// The kernel stays as it is left: pods of this node go on by the next owner while no helper runs here. Those of others
    /// do once their nodes know of it.
    async fn step_down(&mut self) {
        self.part().await;
        tokio::time::sleep(PASSAGE).await;
        self.node.end_passage();
        self.part().await;
    }

    async fn part(&mut self) {
        match tokio::time::timeout(PARTING, self.node.reconcile()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::warn!("pods with addresses wait for the next helper error={}", chain(&error)),
            Err(_) => log::warn!("pods with addresses wait for the next helper, the kernel is busy"),
        }
    }

    fn take_holdings(&mut self) -> Leaving {
        let Some(ownership) = &mut self.ownership else { return Leaving::Underway };
        let holdings = ownership.holdings();
        let has_left = holdings.has_left;
        if ownership.has_ended() {
            // Begun anew after the next reconcile, unless everything ends.
            self.ownership = None;
        }
        self.node.set_holdings(holdings);
        let (shown, devices) = self.node.shown();
        self.presence.show(shown, devices);
        self.clock.within(Duration::ZERO);
        if has_left { Leaving::Done } else { Leaving::Underway }
    }

    /// Every pod brings devices and rules, which the reconcile after its ADD looks at.
    fn notice(&mut self, event: Event) {
        log::debug!("kernel event={event:?}");
        if self.node.is_concerned(&event) {
            self.clock.after_burst();
        } else {
            self.clock.within(SETTLE);
        }
    }

    fn read_source(&mut self) {
        if self.source.read(&mut self.catalogue) {
            self.node.set_world(self.catalogue.world(), self.catalogue.refused(), &self.catalogue.kept());
            self.clock.within(Duration::ZERO);
        }
    }

    fn take_health(&mut self) {
        let dead = self.health.dead_hops();
        if dead != *self.node.dead_hops() {
            self.node.set_dead_hops(dead);
            self.clock.within(Duration::ZERO);
        }
    }

    /// A socket that cannot be opened ends the daemon; a kernel that does not follow does not.
    async fn reconcile(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        let outcome = self.node.reconcile().await;
        self.tally.reconciled(began.elapsed(), &outcome);
        self.tally.owns(self.node.owned());
        match &outcome {
            Ok(()) => self.clock.succeeded(Instant::now()),
            Err(error) => self.clock.has_failed(Instant::now(), error),
        }
        if let Some(time) = self.node.look_again() {
            self.clock.within(time);
        }
        if let Some(skeleton) = self.node.skeleton() {
            self.health.follow(skeleton, self.node.world());
        }
        self.take_health();
        if outcome.is_ok() {
            let (shown, devices) = self.node.shown();
            self.presence.show(shown, devices);
            if let Some(ownership) = &self.ownership {
                ownership.programmed(self.node.claims(), self.node.dealings());
            }
            self.follow_plan().await?;
        }
        self.source.propose(|| self.node.due());
        if outcome.is_ok() && self.server.is_none() {
            if self.node.awaits_tables() && Instant::now() < self.patience {
                self.clock.due = self.clock.due.min(self.patience);
                return Ok(());
            }
            self.server = Some(Server::open(&self.options.place.socket, self.asks.0.clone())?);
            let (socket, took) = (self.options.place.socket.display(), self.began.elapsed().as_millis());
            log::info!("ready node={} socket={socket} milliseconds={took}", self.options.node);
        }
        self.tell_readiness();
        Ok(())
    }
}
