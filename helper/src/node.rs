//! One node: what people asked for, what is attached, and the kernel that is to agree with both.
//!
//! Guarantees: the kernel changes only here, one change at a time; after a reconcile the kernel was read
//! again and agreed. Leaves out: where events come from ([`crate::run`]) and who may ask ([`crate::server`]).

mod addresses;
mod adopt;
mod attach;
mod check;
mod concern;
mod entries;
mod explain;
mod figures;
mod judged;
mod keep;
mod peering;
mod reconcile;
mod recover;
mod report;
mod standing;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use reconcile::brief;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use sortie_core::address::Given;
use sortie_core::allocation::{Allocation, Giver};
use sortie_core::candidates::Candidates;
use sortie_core::desired::{Member, PerPodRules, Skeleton, Steering};
use sortie_core::ids::Numbers;
use sortie_core::model::{Attachment, DeviceName, ObjectKey, ObjectName, Rejection};
use sortie_core::selection::{PathKey, interest, is_known};
use sortie_core::state::{ConntrackFilter, NodeState};
use sortie_core::world::{Device, World};
use sortie_ipc::{AttachmentKey, Failure, Reply, Request, StoredAttachment};
use sortie_kernel::{KernelError, Platform};

use crate::catalogue::{Kept, Refused};
use crate::due::Judgements;
use crate::ownership::Holdings;
use crate::presence::Shown;
use crate::replication::Replication;
use crate::store::{DeadHops, Departed, Detached, Loaded, Store, StoreError};

/// What does not change while the helper runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) node: String,
    pub(crate) numbers: Numbers,
    pub(crate) cluster_cidrs: Vec<IpNetwork>,
    pub(crate) steering: Steering,
    pub(crate) rules_max: usize,
    /// Whether there is a key to talk to other helpers with.
    pub(crate) has_peer_key: bool,
    /// Who gives tables to routes and addresses to Services.
    pub(crate) giver: Giver,
    /// The container runtime's result cache.
    pub(crate) runtime_cache: PathBuf,
}

/// Why a reconcile did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no network of the cluster is known: add a Node manifest with spec.podCIDRs or set --cluster-cidr")]
    ClusterUnknown,
    #[error("the kernel still differs after a reconcile: {0}")]
    Unsettled(String),
}

/// What to do about a failed reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The same again, soon.
    RetrySoon,
    /// Somebody has to write something else first.
    WaitForChange,
}

impl NodeError {
    pub(crate) fn disposition(&self) -> Disposition {
        match self {
            Self::ClusterUnknown => Disposition::WaitForChange,
            Self::Kernel(_) | Self::Store(_) | Self::Unsettled(_) => Disposition::RetrySoon,
        }
    }
}

/// An attachment with what it adds to the kernel.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) stored: StoredAttachment,
    pub(super) member: Member,
}

/// The owner of everything.
pub(crate) struct Node<P> {
    settings: Settings,
    platform: P,
    store: Store,
    world: World,
    /// Who may own what in this world.
    candidates: Candidates,
    refused: Vec<Refused>,
    allocation: Allocation,
    unnumbered: Vec<(ObjectKey, Rejection)>,
    /// Addresses of Services of our class, and who gets none.
    given: Given,
    ungiven: Vec<(ObjectKey, Rejection)>,
    /// What the status of Services would say if this node were the leader, where it says otherwise.
    due: Given,
    /// What is thought of the objects of this world, when the cluster's status says it.
    judged: Judgements,
    /// Tables that hold routes of others, once they were read.
    foreign_tables: Option<BTreeSet<u32>>,
    /// Services whose addresses this node owns.
    owned: BTreeSet<ObjectName>,
    /// Services owned when this helper was asked to end.
    passing: BTreeSet<ObjectName>,
    /// Who owns what several nodes could own.
    holdings: Holdings,
    replication: Option<Replication>,
    /// Paths with addresses that only pods of this node ask for.
    wanted: BTreeSet<PathKey>,
    /// Paths of an attachment that is about to come.
    announced: Vec<PathKey>,
    /// Whether this kernel can send by another node; `None` = not asked yet.
    carrier: Option<Result<(), String>>,
    shown: Shown,
    devices: BTreeMap<DeviceName, Device>,
    /// Whether the kernel may hold paths whose numbers are not known any more.
    numbers: Numbering,
    dead_hops: DeadHops,
    attachments: BTreeMap<AttachmentKey, Held>,
    /// Pods of the world that run without an attachment: they are older than the installation.
    adopted: Vec<Held>,
    /// Pods that were detached and are still in the world.
    departed: Departed,
    /// What was detached, until its flows are forgotten.
    detached: Vec<Detached>,
    /// Attachments whose files could not be read.
    lost: Vec<AttachmentKey>,
    /// Flows that the next successful reconcile will have forgotten.
    forget: Vec<ConntrackFilter>,
    skeleton: Option<Skeleton>,
    mode: PerPodRules,
    believed: NodeState,
    ready: Result<(), String>,
    /// Conditions that do not hold and were logged.
    told: BTreeSet<String>,
    repairs: u64,
    /// Reconciles that still look for misled flows.
    aftercare: u8,
    /// The last steps were not read back yet.
    is_unseen: bool,
}

/// Whether the numbers on disk are those in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbering {
    Known,
    Lost,
}

impl<P: Platform> Node<P> {
    /// A node that knows what the last helper left on disk.
    pub(crate) fn new(settings: Settings, platform: P, store: Store) -> Result<Self, NodeError> {
        let Loaded { attachments, detached, lost } = store.load()?;
        let (allocation, departed, dead_hops) = (store.allocation()?, store.departed()?, store.dead_hops()?);
        let given = store.addresses()?;
        let numbers = if store.knows_paths() { Numbering::Known } else { Numbering::Lost };
        let held = |stored| Held { stored, member: Member::default() };
        Ok(Self {
            world: keep::remembered(store.world()?),
            settings,
            platform,
            store,
            candidates: Candidates::default(),
            refused: Vec::new(),
            allocation,
            unnumbered: Vec::new(),
            given,
            ungiven: Vec::new(),
            due: Given::new(),
            judged: Judgements::new(),
            foreign_tables: None,
            owned: BTreeSet::new(),
            passing: BTreeSet::new(),
            holdings: Holdings::default(),
            replication: None,
            wanted: BTreeSet::new(),
            announced: Vec::new(),
            carrier: None,
            shown: Shown::default(),
            devices: BTreeMap::new(),
            numbers,
            dead_hops,
            adopted: Vec::new(),
            departed,
            forget: left_behind(&detached, &attachments),
            detached,
            lost,
            attachments: attachments.into_iter().map(|(k, s)| (k, held(s))).collect(),
            skeleton: None,
            mode: PerPodRules::Absent,
            believed: NodeState::default(),
            ready: Err("the first reconcile is not done".to_owned()),
            told: BTreeSet::new(),
            repairs: 0,
            aftercare: 0,
            is_unseen: false,
        })
    }

    /// Objects that were in force when the last helper stopped.
    pub(crate) fn kept(&self) -> Result<Vec<Kept>, StoreError> {
        self.store.world()
    }

    /// Takes another world, to be remembered as `kept`; the next reconcile brings it into force.
    pub(crate) fn set_world(&mut self, mut world: World, refused: &[Refused], kept: &[Kept]) {
        let outliving = self.keep_pods(&mut world);
        if let Err(error) = self.store.save_world(&[kept, &outliving].concat()) {
            log::error!("objects cannot be kept for a restart error={}", chain(&error));
        }
        self.world = world;
        self.refused = refused.to_vec();
        self.give_addresses();
        self.candidates = Candidates::of(&self.world);
        if self.settings.giver == Giver::Cluster {
            self.judged = self.judgements();
        }
    }

    /// Next hops that do not answer, as the last reconcile took them.
    pub(crate) fn dead_hops(&self) -> &DeadHops {
        &self.dead_hops
    }

    /// Takes the next hops that do not answer; the next reconcile brings them into force.
    pub(crate) fn set_dead_hops(&mut self, dead: DeadHops) {
        if let Err(error) = self.store.save_dead_hops(&dead) {
            log::error!("dead next hops cannot be kept for a restart error={}", chain(&error));
        }
        self.dead_hops = dead;
    }

    /// When the next reconcile is due although nothing changed, if it is.
    pub(crate) fn look_again(&self) -> Option<std::time::Duration> {
        let after = (self.aftercare > 0).then_some(reconcile::LOOK_AGAIN);
        if self.is_unseen { Some(std::time::Duration::ZERO) } else { after }
    }

    /// Whether the last reconcile was verified, or why not.
    pub(crate) fn ready(&self) -> Result<(), &str> {
        match &self.ready {
            Ok(()) => Ok(()),
            Err(reason) => Err(reason),
        }
    }

    /// The exits of the last reconcile, for next-hop health.
    pub(crate) fn skeleton(&self) -> Option<&Skeleton> {
        self.skeleton.as_ref()
    }

    /// The objects in force.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// Whether the pod of the attachment is in the world; one without pod lacks nothing.
    pub(crate) fn knows(&self, attachment: &Attachment) -> bool {
        is_known(&self.world, attachment)
    }

    /// Whether another object than the pod itself may select a pod of the namespace.
    pub(crate) fn is_of_interest(&self, namespace: &str) -> bool {
        interest(&self.world).namespaces.contains(namespace)
    }

    /// Answers one request.
    pub(crate) async fn handle(&mut self, request: Request) -> Reply {
        let answer = match request {
            Request::Attach(attachment) => self.attach(attachment).await,
            Request::Detach(key) => self.leave(&key).await,
            Request::Check { key, addresses } => self.check(&key, &addresses).await,
            Request::Gc { network, valid } => self.gc(&network, &valid).await,
            Request::Status => Ok(Reply::Status(Box::new(self.report().await))),
            Request::Explain(question) => Ok(Reply::Explained(Box::new(self.explain(&question).await))),
        };
        answer.unwrap_or_else(Reply::Failed)
    }

    /// What this node is to answer for, as the last reconcile programmed it, and where it could have to at any moment; and
    /// the devices it saw.
    pub(crate) fn shown(&self) -> (&Shown, &BTreeMap<DeviceName, Device>) {
        (&self.shown, &self.devices)
    }

    fn members(&self) -> impl Iterator<Item = &Member> + Clone {
        self.attachments.values().chain(&self.adopted).map(|h| &h.member)
    }

    fn held(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.values().chain(&self.adopted).map(|h| &h.stored.attachment)
    }
}

/// Flows of attachments that went while no helper ran, unless somebody else has the address.
fn left_behind(detached: &[Detached], attachments: &BTreeMap<AttachmentKey, StoredAttachment>) -> Vec<ConntrackFilter> {
    let is_held = |address: &IpAddr| attachments.values().any(|s| s.attachment.addresses.contains(address));
    let addresses = detached.iter().flat_map(|d| d.stored.attachment.addresses.iter().copied());
    addresses.filter(|a| !is_held(a)).map(ConntrackFilter::Address).collect()
}

/// A failure in CNI terms, with the whole chain of causes.
pub(super) fn failure(code: u32, message: &str, error: &dyn std::error::Error) -> Failure {
    Failure { code, message: message.to_owned(), details: chain(error) }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
