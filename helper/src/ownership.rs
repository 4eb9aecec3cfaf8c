//! Which of the nodes that could own an address does: the machine of the core with clocks, peers and probes.
//!
//! Guarantees: it runs on a thread of its own, so that no reconcile delays a renewal; a permission is in the kernel
//! before anything is told to own; what was promised to peers is on disk before they are told. Leaves out: programming
//! and answering, which the daemon does with what [`Ownership::holdings`] says, and what may be owned ([`Plan`]).

mod driver;
mod probes;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sortie_core::model::{DeviceName, ObjectName};
use sortie_core::ownership::{Config, Consent, Identity, Presence};
use sortie_core::selection::PathKey;
use sortie_core::steering::Offer;
use sortie_kernel::Own;
use sortie_peer::{Key, Refusals};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::replication::Streams;

pub(crate) use driver::identity;
pub(crate) use words::Dealings;

/// What this node could own beside others, and who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Addresses of the other nodes.
    pub(crate) peers: BTreeMap<u16, IpAddr>,
    /// By identity.
    pub(crate) units: BTreeMap<Identity, Unit>,
}

/// One identity as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) service: ObjectName,
    pub(crate) config: Config,
    /// Whether a device of this node can carry it.
    pub(crate) presence: Presence,
    /// Where it would be answered for.
    pub(crate) places: Vec<(DeviceName, IpAddr)>,
    /// Next hops whose answer shows that this node is connected; none = nobody can be asked.
    pub(crate) hops: Vec<(DeviceName, IpAddr)>,
}

/// How this node came to own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    /// Of the claim.
    pub(crate) epoch: u64,
    /// The last owner's.
    pub(crate) consent: Consent,
}

/// What is decided at present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// Whether anything was decided yet.
    pub(crate) decided: bool,
    /// Services whose addresses this node owns.
    pub(crate) held: BTreeMap<ObjectName, Holding>,
    /// Owners that are known, by node number.
    pub(crate) owners: BTreeMap<ObjectName, u16>,
    /// What the live peers offer, by node number.
    pub(crate) offers: BTreeMap<u16, Arc<Offer>>,
    /// Paths that pods of other nodes need.
    pub(crate) wanted: BTreeSet<PathKey>,
    /// Services whose address a stranger answers for.
    pub(crate) conflicts: BTreeSet<ObjectName>,
    /// Everything was handed over.
    pub(crate) has_left: bool,
}

/// What the thread needs to begin.
pub(crate) struct Setup {
    pub(crate) node: u16,
    /// This node's address, as peers know it, and the cluster's port.
    pub(crate) listen: SocketAddr,
    pub(crate) key: Key,
    /// By whom changes of the kernel are the helper's.
    pub(crate) own: Own,
    /// Claims and promises, lost at reboot like the kernel's state.
    pub(crate) file: PathBuf,
    /// Gets the ways to and from the peers.
    pub(crate) streams: oneshot::Sender<Streams>,
}

/// Messages that were refused by reason, and how many peers are alive.
pub(crate) type Gossip = (BTreeMap<String, u64>, usize);

enum Command {
    Plan(Plan),
    Programmed(BTreeMap<ObjectName, u64>, Dealings),
    Alive,
    Gossip(oneshot::Sender<(Refusals, usize)>),
    Leave,
}

/// On a busy node the permission to send must be renewed in time, whatever else waits for a processor; `nice(2)` does
/// not reach beyond the own control group or autogroup.
fn run_at_once() {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy) {
        log::warn!("ownership is decided with usual priority, CAP_SYS_NICE is missing error={error}");
    }
}

/// The thread, from outside.
pub(crate) struct Ownership {
    commands: mpsc::UnboundedSender<Command>,
    holdings: watch::Receiver<Holdings>,
}

impl Ownership {
    /// Starts in the network namespace of the calling thread.
    pub(crate) fn start(setup: Setup, plan: Plan) -> anyhow::Result<Self> {
        let (commands, taken) = mpsc::unbounded_channel();
        let (told, holdings) = watch::channel(Holdings::default());
        let run = move || {
            run_at_once();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { driver::Driver::open(setup, plan, told)?.run(taken).await })
        };
        let log = move || {
            if let Err(error) = run() {
                log::error!("ownership has ended, nothing is owned beside others any more error={error:#}");
            }
        };
        std::thread::Builder::new().name("ownership".to_owned()).spawn(log).context("start the thread of ownership")?;
        Ok(Self { commands, holdings })
    }

    /// Takes another plan.
    pub(crate) fn plan(&self, plan: Plan) {
        self.send(Command::Plan(plan));
    }

    /// The kernel carries out these claims, and does this for other nodes.
    pub(crate) fn programmed(&self, claims: BTreeMap<ObjectName, u64>, dealings: Dealings) {
        self.send(Command::Programmed(claims, dealings));
    }

    /// The daemon, which programs and answers, is at work; without this for some seconds nothing is owned.
    pub(crate) fn is_alive(&self) {
        self.send(Command::Alive);
    }

    /// Messages that were refused since the start, by reason; none known when the thread is busy for longer than `limit`.
    pub(crate) async fn refused(&self, limit: Duration) -> BTreeMap<String, u64> {
        self.gossip(limit).await.unwrap_or_default().0
    }

    /// Messages that were refused, and how many peers are alive.
    pub(crate) fn gossip(&self, limit: Duration) -> impl Future<Output = Option<Gossip>> + 'static {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Gossip(reply));
        async move {
            let (refusals, alive) = tokio::time::timeout(limit, answer).await.ok()?.ok()?;
            Some((refusals.into_iter().map(|(refusal, count)| (refusal.to_string(), count)).collect(), alive))
        }
    }

    /// Hands everything over and claims nothing more; the end shows in the holdings.
    pub(crate) fn leave(&self) {
        self.send(Command::Leave);
    }

    /// What is decided at present; nothing once the thread has failed. After it left, who owned then.
    pub(crate) fn holdings(&mut self) -> Holdings {
        let last = self.holdings.borrow_and_update().clone();
        if self.has_ended() && !last.has_left { Holdings::default() } else { last }
    }

    /// What is decided, for another thread.
    pub(crate) fn watch(&self) -> watch::Receiver<Holdings> {
        self.holdings.clone()
    }

    /// Waits for a decision, or for the end of the thread.
    pub(crate) async fn changed(&mut self) {
        let _ = self.holdings.changed().await;
    }

    /// Whether the thread has ended: it left, or failed and has logged why.
    pub(crate) fn has_ended(&self) -> bool {
        self.holdings.has_changed().is_err()
    }

    /// Waits for the first decision.
    pub(crate) async fn decided(&mut self) {
        let _ = self.holdings.wait_for(|holdings| holdings.decided).await;
    }

    /// An ended thread has logged why.
    fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}
