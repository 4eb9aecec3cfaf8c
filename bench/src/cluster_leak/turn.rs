//! Pods of one subject from their first to their last moment.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sortie_testkit::kube::list;
use sortie_testkit::poll;

use crate::cluster::{Kind, KubeVip, NODES, Passed, Stage, Subject, Wire, Wish, pod};

/// Services of a subject.
const SERVICES: u8 = 6;
/// Datagrams of each kind that count, from a pod's first one on.
pub(super) const COUNTED: u64 = 300;
/// How long a busy machine may take to start the pods of a turn and let them send.
const LIMIT: Duration = Duration::from_secs(120);

/// Time between two looks at what was seen.
const PAUSE: Duration = Duration::from_millis(50);

/// A subject with its Services, and what became of its pods.
pub(super) struct Side {
    pub(super) subject: Subject,
    /// Name and address of each Service.
    services: Vec<(String, IpAddr)>,
    running: Option<KubeVip>,
    pub(super) lives: Vec<Life>,
}

/// What the switch saw of a pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    /// In a flow that runs.
    pub(super) running: Tally,
    /// In flows of one datagram.
    pub(super) new: Tally,
}

/// Of one kind of datagrams.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) right: usize,
    pub(super) leaked: usize,
    first: Option<Instant>,
    last_leaked: Option<Instant>,
    /// The highest number seen.
    last: u64,
}

impl Tally {
    /// From the first datagram to the last that leaked.
    pub(super) fn window(&self) -> Option<Duration> {
        Some(self.last_leaked?.saturating_duration_since(self.first?))
    }

    fn count(&mut self, (passed, number): (&Passed, u64), address: IpAddr) {
        self.last = self.last.max(number);
        if number >= COUNTED {
            return;
        }
        self.first.get_or_insert(passed.at);
        if passed.is_right(address) {
            self.right += 1;
        } else {
            self.leaked += 1;
            self.last_leaked = Some(passed.at);
        }
    }
}

impl Side {
    /// Makes the Services and starts what they need.
    pub(super) fn new(stage: &Stage, subject: Subject) -> Result<Self> {
        let serve = |number| {
            let app = format!("{}-{number}", subject.app());
            let address = stage.serve(Wish { subject, app: &app, number })?;
            Ok((app, address))
        };
        let services = (0..SERVICES).map(serve).collect::<Result<_>>()?;
        Ok(Self { subject, services, running: stage.start(subject)?, lives: Vec::new() })
    }

    /// One pod of each Service lives. Each is on another node than its predecessor.
    pub(super) fn turn(&self, (stage, wire): (&Stage, &Wire), round: usize) -> Result<Vec<Life>> {
        let named = self.services.iter().map(|(app, address)| (format!("{app}-{round}"), (app, *address)));
        let mut lives: BTreeMap<String, (IpAddr, Life)> = BTreeMap::new();
        let mut objects = Vec::new();
        for (index, (name, (app, address))) in named.enumerate() {
            objects.push(pod((app, &name), NODES[(round + index) % NODES.len()]));
            lives.insert(name, (address, Life::default()));
        }
        // The other side's turn was long enough for most of it.
        self.delete(stage, &[])?;
        wire.take()?;
        stage.kubectl.apply(&list(&objects))?;
        let all_sent = || look(wire, &mut lives).transpose();
        poll(LIMIT, "datagrams of all pods", all_sent)
            .and_then(|seen| seen)
            .with_context(|| stage.account(self.running.as_ref()))?;
        self.delete(stage, &["--wait=false"])?;
        Ok(lives.into_values().map(|(_, life)| life).collect())
    }

    /// Takes the pods away, and waits until they are gone.
    fn delete(&self, stage: &Stage, how: &[&str]) -> Result<()> {
        let apps: Vec<&str> = self.services.iter().map(|(app, _)| app.as_str()).collect();
        let selector = format!("app in ({})", apps.join(","));
        stage.kubectl.run(&[&["delete", "pods", "--now", "--selector", &selector], how].concat()).map(drop)
    }

    /// Ends what was started.
    pub(super) fn end(self, stage: &Stage) -> Result<()> {
        self.running.map_or(Ok(()), |running| running.stop(&stage.cluster))
    }
}

/// Counts what was seen since the last time; something when every pod has sent what counts.
fn look(wire: &Wire, lives: &mut BTreeMap<String, (IpAddr, Life)>) -> Result<Option<()>> {
    std::thread::sleep(PAUSE);
    for passed in wire.take()? {
        let (Kind::Running(said) | Kind::New(said)) = &passed.kind else { continue };
        let Some((address, life)) = lives.get_mut(&said.pod) else { continue };
        let tally = if matches!(passed.kind, Kind::New(_)) { &mut life.new } else { &mut life.running };
        tally.count((&passed, said.number), *address);
    }
    let has_sent = |tally: &Tally| tally.last >= COUNTED;
    Ok(lives.values().all(|(_, life)| has_sent(&life.running) && has_sent(&life.new)).then_some(()))
}
