//! The thread's loop: what the kernel, the peers and the daemon say, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sortie_core::ids::Mask;
use sortie_core::model::ObjectName;
use sortie_core::ownership::{Consent, Millis};
use sortie_core::replica::{
    CHANGES_MAX, Change, Connection, Message, Mirror, PICTURE, Paths, Replica, Succession, Tracked, encode,
};
use sortie_kernel::blocking::Conntrack;
use sortie_kernel::tracking::{Notice, Tracking};
use sortie_peer::Follower;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use super::hear::{Heard, Owners};
use super::tell::{Ask, BEHIND, Update, View, tell};
use super::{Command, Part, Replicated, Setup};
use crate::node::chain;
use crate::ownership::Holdings;

/// Messages of owners that wait.
const HEARD: usize = 64;
/// After lost notifications: least time until a new picture.
const REST: Duration = Duration::from_secs(1);

struct Keeper {
    node: u16,
    marks: (Mask, Mask),
    began: Instant,
    holdings: watch::Receiver<Holdings>,
    services: BTreeSet<ObjectName>,
    table: Conntrack,
    /// Open while somebody is told something.
    tracking: Option<Tracking>,
    mirror: Mirror,
    updates: broadcast::Sender<Update>,
    picture: Interval,
    tellers: JoinSet<()>,
    asks: mpsc::Sender<Ask>,
    replica: Replica,
    owners: Owners,
    /// When each followed owner said something last.
    heard: BTreeMap<u16, Instant>,
}

/// Runs until the daemon or the peers end.
pub(super) async fn run(setup: Setup, mut commands: mpsc::UnboundedReceiver<Command>) -> anyhow::Result<()> {
    let Ok(streams) = setup.streams.await else { return Ok(()) };
    let mut followers = streams.followers;
    let (heard, mut said) = mpsc::channel(HEARD);
    let (asks, mut asked) = mpsc::channel(1);
    let mut picture = tokio::time::interval(Duration::from_millis(PICTURE));
    picture.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut keeper = Keeper {
        node: setup.node,
        marks: setup.marks,
        began: Instant::now(),
        holdings: setup.holdings,
        services: BTreeSet::new(),
        table: Conntrack::open()?,
        tracking: None,
        mirror: Mirror::new(setup.marks.0, setup.marks.1),
        updates: broadcast::channel(BEHIND).0,
        picture,
        tellers: JoinSet::new(),
        asks,
        replica: Replica::default(),
        owners: Owners::new(streams.follow, heard),
        heard: BTreeMap::new(),
    };
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Play(part, done)) => keeper.play(part, || {
                    let _ = done.send(());
                }),
                Some(Command::Count(reply)) => drop(reply.send(keeper.count())),
                None => return Ok(()),
            },
            changed = keeper.holdings.changed() => match changed {
                Ok(()) => {
                    keeper.stop_telling();
                    keeper.follow();
                }
                Err(_) => return Ok(()),
            },
            follower = followers.recv() => match follower {
                Some(follower) => keeper.welcome(follower),
                None => return Ok(()),
            },
            Some(ask) = asked.recv() => keeper.show(ask),
            Some(heard) = said.recv() => keeper.hear(heard),
            notices = noticed(&mut keeper.tracking) => keeper.notice(&notices),
            _ = keeper.picture.tick() => keeper.refresh(),
            Some(_) = keeper.tellers.join_next() => keeper.adjust(),
        }
    }
}

async fn noticed(tracking: &mut Option<Tracking>) -> Vec<Notice> {
    match tracking {
        Some(tracking) => tracking.next().await,
        None => std::future::pending().await,
    }
}

impl Keeper {
    fn now(&self) -> Millis {
        Millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Loads what comes with new addresses first, then tells.
    fn play(&mut self, part: Part, loaded: impl FnOnce()) {
        self.services = part.services;
        let paths = self.held(part.owned);
        let before: BTreeSet<(ObjectName, u64)> = claims(self.mirror.paths());
        for (service, _) in claims(&paths).difference(&before) {
            self.inherit(service, &paths);
        }
        loaded();
        self.follow();
        if paths != *self.mirror.paths() {
            self.begin(paths);
        }
    }

    /// Paths of addresses that are not given up already.
    fn held(&self, mut paths: Paths) -> Paths {
        let holdings = self.holdings.borrow();
        paths.retain(|_, path| holdings.held.contains_key(&path.service));
        paths
    }

    fn inherit(&mut self, service: &ObjectName, paths: &Paths) {
        let began = Instant::now();
        let Some(mut inheritance) = self.replica.take(service, self.now()) else { return };
        let consent = self.holdings.borrow().held.get(service).map(|holding| holding.consent);
        if consent != Some(Consent::Given) {
            inheritance.connections.retain(|(_, connection)| !connection.is_better_begun_anew());
        }
        let of_service = paths.iter().filter(|(_, path)| path.service == *service);
        let marks: BTreeMap<&Option<String>, u32> = of_service.map(|(mark, path)| (&path.route, *mark)).collect();
        let succession = Succession { from: inheritance.owner, to: self.node };
        let entry = |(route, connection): &(Option<String>, Connection)| {
            Some(connection.rewritten(succession, (*marks.get(route)?, self.marks.1)))
        };
        let entries: Vec<Tracked> = inheritance.connections.iter().filter_map(entry).collect();
        match self.table.load(&entries, self.marks.0) {
            Ok(loaded) => {
                if let Some(error) = &loaded.error {
                    log::warn!("some connections cannot be taken over, the first error={}", chain(error));
                }
                log::info!(
                    "took connections over service={service} from={} created={} displaced={} present={} refused={} milliseconds={}",
                    inheritance.owner,
                    loaded.created,
                    loaded.displaced,
                    loaded.present,
                    loaded.refused,
                    began.elapsed().as_millis()
                );
            }
            Err(error) => log::error!("connections cannot be taken over service={service} error={}", chain(&error)),
        }
    }

    /// From here on nothing is told of what was given up.
    fn stop_telling(&mut self) {
        let paths = self.held(self.mirror.paths().clone());
        if paths != *self.mirror.paths() {
            self.keep_own();
            self.begin(paths);
        }
    }

    /// An address that is given up may come back before anybody else has it; its entries are deleted meanwhile.
    fn keep_own(&mut self) {
        let paths = self.mirror.paths().clone();
        if self.tracking.is_none() {
            let tracked = self.listed(&paths);
            self.mirror.reset(paths, tracked);
        }
        let now = self.now();
        for message in self.mirror.picture() {
            self.replica.hear(self.node, message, now);
        }
    }

    fn follow(&mut self) {
        let holdings = self.holdings.borrow_and_update();
        let of_ours = holdings.owners.iter().filter(|(service, _)| self.services.contains(*service));
        let nodes: BTreeSet<u16> = of_ours.map(|(_, node)| *node).filter(|node| *node != self.node).collect();
        drop(holdings);
        for gone in self.owners.are(&nodes) {
            self.heard.remove(&gone);
            self.replica.lost(gone);
        }
    }

    fn hear(&mut self, (node, message): Heard) {
        let now = self.now();
        match message {
            Some(message) => {
                self.heard.insert(node, Instant::now());
                self.replica.hear(node, message, now);
            }
            None => self.replica.lost(node),
        }
    }

    fn count(&self) -> Replicated {
        let told = if self.tracking.is_some() { self.mirror.len() } else { 0 };
        let age = self.heard.values().map(Instant::elapsed).max();
        Replicated { told, omitted: self.mirror.omitted(), kept: self.replica.len(), age }
    }

    fn welcome(&mut self, follower: Follower) {
        log::debug!("follower has come node={}", follower.node());
        self.tellers.spawn(tell(follower, self.asks.clone()));
        self.adjust();
    }

    /// Listens to the kernel while there is something to tell and somebody to tell it to.
    fn adjust(&mut self) {
        let is_needed = !self.tellers.is_empty() && !self.mirror.paths().is_empty();
        if is_needed != self.tracking.is_some() {
            self.begin(self.mirror.paths().clone());
        }
    }

    /// Tells of these paths from now on.
    fn begin(&mut self, paths: Paths) {
        let is_needed = !self.tellers.is_empty() && !paths.is_empty();
        if !is_needed {
            self.tracking = None;
        } else if self.tracking.is_none() {
            self.tracking = self.listen().map_err(|error| log::error!("{error:#}")).ok();
        }
        self.list(paths);
    }

    fn listen(&self) -> anyhow::Result<Tracking> {
        if Tracking::is_switched_off() {
            log::warn!(
                "changes of connections are told every {} seconds only: set net.netfilter.nf_conntrack_events to 1 or 2",
                PICTURE / 1000
            );
        }
        Tracking::open().context("connections cannot be followed")
    }

    /// Reads the table after listening has begun, and lets followers have it.
    fn list(&mut self, paths: Paths) {
        let tracked = if self.tracking.is_some() { self.listed(&paths) } else { Vec::new() };
        self.mirror.reset(paths, tracked);
        if self.mirror.omitted() > 0 {
            log::warn!("too many connections to replicate omitted={}", self.mirror.omitted());
        }
        let _ = self.updates.send(Update::Anew);
    }

    fn listed(&mut self, paths: &Paths) -> Vec<Tracked> {
        let values: Vec<u32> = paths.keys().copied().collect();
        self.table.tracked(&values, self.marks.0.0).unwrap_or_else(|error| {
            log::error!("connections cannot be listed error={}", chain(&error));
            Vec::new()
        })
    }

    fn refresh(&mut self) {
        self.replica.expire(self.now());
        if self.tracking.is_some() {
            self.list(self.mirror.paths().clone());
        }
    }

    fn show(&self, ask: Ask) {
        let picture = self.mirror.picture().iter().map(encode).collect::<Result<_, _>>();
        match picture {
            Ok(picture) => drop(ask.send(View { picture, updates: self.updates.subscribe() })),
            Err(error) => log::error!("connections cannot be told error={}", chain(&error)),
        }
    }

    /// A purge that follows the loss of an address is noticed after that loss was decided.
    fn notice(&mut self, notices: &[Notice]) {
        self.stop_telling();
        let mut changes = Vec::new();
        for notice in notices {
            match notice {
                Notice::Seen(tracked) => changes.extend(self.mirror.see(*tracked)),
                Notice::Gone(tuple) => changes.extend(self.mirror.lose(tuple)),
                Notice::Overrun => {
                    log::warn!("notifications about connections were lost, reading them anew");
                    self.picture.reset_after(REST);
                }
            }
        }
        for chunk in changes.chunks(CHANGES_MAX) {
            self.tell(chunk);
        }
    }

    fn tell(&self, changes: &[Change]) {
        match encode(&Message::Changes(changes.to_vec())) {
            Ok(bytes) => drop(self.updates.send(Update::Changes(bytes.into()))),
            Err(error) => log::error!("connections cannot be told error={}", chain(&error)),
        }
    }
}

fn claims(paths: &Paths) -> BTreeSet<(ObjectName, u64)> {
    paths.values().map(|path| (path.service.clone(), path.epoch)).collect()
}
