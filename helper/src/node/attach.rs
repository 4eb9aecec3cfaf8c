//! Attachments come and go.
//!
//! Guarantees: when an attach succeeds, the kernel holds everything the pod's first packet needs, and nothing
//! of an earlier holder of its addresses; when it fails, nothing of it remains. A detach is complete also
//! for what is not there.

use std::net::IpAddr;

use sortie_core::cni::code;
use sortie_core::desired::{Member, PerPodRules};
use sortie_core::model::{Attachment, ObjectName, Reason, Rejection};
use sortie_core::plan;
use sortie_core::selection::{Assignment, PathKey, select};
use sortie_core::state::{ConntrackFilter, Rule, Step};
use sortie_ipc::{AttachmentKey, Failure, Reply, StoredAttachment};
use sortie_kernel::Platform;

use super::{Held, Node, NodeError, chain, failure};

/// Longest container id; the file name must fit a file system.
const CONTAINER_MAX: usize = 200;

/// Reconciles before an attach gives up on a kernel that others change.
const ATTEMPTS: usize = 5;

impl<P: Platform> Node<P> {
    pub(super) async fn attach(&mut self, attachment: Attachment) -> Result<Reply, Failure> {
        let key = AttachmentKey::of(&attachment);
        is_key(&key)?;
        let assignment = select(&self.world, &attachment).map_err(|r| refused(&r))?;
        self.is_in_cluster(&attachment, &assignment)?;
        self.evict(&key, &attachment.addresses).await.map_err(|e| failure(code::IO, "evict", &e))?;
        self.number(&assignment).await.map_err(|e| failure(code::IO, "kernel refused", &e))?;
        let Some(skeleton) = &self.skeleton else { return Err(self.not_ready()) };
        let member = skeleton.member(&attachment.addresses, &assignment);
        let mode = skeleton.mode(self.members().chain([&member]), self.settings.steering, self.settings.rules_max);
        let rules = rules_in(mode, &member);
        let held = Held { stored: StoredAttachment { attachment, rules: rules.clone() }, member };
        let selected = !assignment.flows.is_empty();
        match self.store.save(&held.stored) {
            Err(error) if selected => return Err(failure(code::IO, "attachment could not be written", &error)),
            Err(error) => log::error!("attachment could not be written, the pod needs none error={}", chain(&error)),
            Ok(()) => {}
        }
        if let Err(error) = self.install(&key, held, mode).await {
            self.undo(&key).await;
            return Err(failure(code::IO, "kernel refused", &error));
        }
        log::info!("attached {} selected={selected} rules={}", self.describe(&key), rules.len());
        Ok(Reply::Attached { selected, rules })
    }

    /// The fast way needs no reading of the kernel; it is open while the skeleton stays as it is and the
    /// kernel is what it is believed to be.
    async fn install(&mut self, key: &AttachmentKey, held: Held, mode: PerPodRules) -> Result<(), NodeError> {
        if held.member.elements.is_empty() {
            self.attachments.insert(key.clone(), held);
            return Ok(());
        }
        let steps = if mode == self.mode { plan::attach(&self.believed, &held.member) } else { None };
        let rules = held.stored.rules.clone();
        self.attachments.insert(key.clone(), held);
        if let Some(steps) = steps {
            match self.carry_out(&steps).await {
                Ok(()) => {
                    self.believed.rules.extend(rules);
                    return Ok(());
                }
                Err(error) => log::warn!("kernel is not as believed error={}", chain(&error)),
            }
        }
        self.reconcile_among_plugins().await
    }

    /// A path with an address that only this pod asks for gets its number first.
    async fn number(&mut self, assignment: &Assignment) -> Result<(), NodeError> {
        let paths = assignment.flows.iter().map(|flow| &flow.path).filter(|path| path.service().is_some());
        let new: Vec<PathKey> = paths.filter(|path| !self.allocation.paths.contains_key(path)).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        self.announced = new;
        let outcome = self.reconcile_among_plugins().await;
        self.announced.clear();
        outcome
    }

    /// Plugins of earlier attachments may install or remove their rules between our steps and our look.
    async fn reconcile_among_plugins(&mut self) -> Result<(), NodeError> {
        for _ in 1..ATTEMPTS {
            match self.reconcile().await {
                Err(NodeError::Unsettled(left)) => log::debug!("kernel changed meanwhile left={left:?}"),
                outcome => return outcome,
            }
        }
        self.reconcile().await
    }

    /// Whatever cannot be undone in the kernel now has no owner any more and goes with the next reconcile.
    async fn undo(&mut self, key: &AttachmentKey) {
        if let Some(held) = self.attachments.remove(key)
            && let Err(error) = self.clear(&held).await
        {
            log::error!("attach could not be undone container={} error={}", key.container_id, chain(&error));
        }
        if let Err(error) = self.store.remove(key) {
            log::error!("attachment could not be removed error={}", chain(&error));
        }
    }

    fn describe(&self, key: &AttachmentKey) -> String {
        let attachment = self.attachments.get(key).map(|h| &h.stored.attachment);
        let pod = attachment.and_then(|a| a.pod.as_ref());
        let pod = pod.map_or_else(String::new, |p| format!(" pod={}/{}", p.namespace, p.name));
        format!("container={} interface={}{pod}", key.container_id, key.interface)
    }

    fn not_ready(&self) -> Failure {
        let details = self.ready.as_ref().err().cloned().unwrap_or_default();
        Failure { code: code::TRY_AGAIN, message: "helper is not ready".to_owned(), details }
    }

    /// A selected pod outside every known network of the cluster would not be reached by its own answers.
    fn is_in_cluster(&self, attachment: &Attachment, assignment: &Assignment) -> Result<(), Failure> {
        if assignment.flows.is_empty() {
            return Ok(());
        }
        let networks = self.world.cluster_networks(&self.settings.cluster_cidrs);
        let strange = attachment.addresses.iter().find(|a| !networks.iter().any(|n| n.contains(**a)));
        strange.map_or(Ok(()), |address| {
            Err(Failure {
                code: code::POD_CIDR_UNKNOWN,
                message: "pod CIDR unknown".to_owned(),
                details: format!(
                    "address {address} of container {} is in no network of a Node; set --cluster-cidr of sortie-helper",
                    attachment.container_id
                ),
            })
        })
    }

    /// Older holders of an address, and an older attachment of the same name, go first.
    async fn evict(&mut self, key: &AttachmentKey, addresses: &[IpAddr]) -> Result<(), NodeError> {
        let holds = |h: &Held| h.stored.attachment.addresses.iter().any(|a| addresses.contains(a));
        let old: Vec<AttachmentKey> =
            self.attachments.iter().filter(|(k, h)| *k == key || holds(h)).map(|(k, _)| k.clone()).collect();
        for old in old {
            log::info!("evicting {} for={}", self.describe(&old), key.container_id);
            self.detach(&old).await?;
        }
        let adopted = std::mem::take(&mut self.adopted);
        let (gone, kept): (Vec<Held>, Vec<Held>) = adopted.into_iter().partition(holds);
        self.adopted = kept;
        for held in gone {
            self.clear(&held).await?;
        }
        self.forget_flows_of(addresses).await
    }

    /// DEL: whatever happened before, nothing of the attachment is left.
    pub(super) async fn leave(&mut self, key: &AttachmentKey) -> Result<Reply, Failure> {
        if is_key(key).is_err() {
            return Ok(Reply::Done);
        }
        self.depart(key).and(self.detach(key).await).map_err(|e| failure(code::IO, "detach", &e))?;
        Ok(Reply::Done)
    }

    /// The pod may stay in the world for a while; it is not to be taken for one that runs.
    fn depart(&mut self, key: &AttachmentKey) -> Result<(), NodeError> {
        let reference = self.attachments.get(key).and_then(|h| h.stored.attachment.pod.as_ref());
        let name = reference.map(|p| ObjectName { namespace: p.namespace.clone(), name: p.name.clone() });
        let pod = name.and_then(|name| self.world.pods.get(&name)).filter(|pod| !pod.addresses.is_empty());
        if let Some(pod) = pod
            && self.departed.insert((pod.name.clone(), pod.meta.uid.clone()))
        {
            self.store.save_departed(&self.departed)?;
        }
        Ok(())
    }

    /// Removes an attachment; one that is not known is removed already.
    pub(super) async fn detach(&mut self, key: &AttachmentKey) -> Result<(), NodeError> {
        let Some(held) = self.attachments.get(key).cloned() else { return Ok(self.store.remove(key)?) };
        self.clear(&held).await?;
        self.detached.push(self.store.detach(held.stored)?);
        log::info!("detached {}", self.describe(key));
        self.attachments.remove(key);
        Ok(())
    }

    /// To find flows takes a walk over the whole table of the machine: they wait for the next reconcile, with those of
    /// all pods that go until then, unless the address is used again before.
    async fn clear(&mut self, held: &Held) -> Result<(), NodeError> {
        self.carry_out(&plan::detach(&self.believed, &held.member)).await?;
        self.forget.extend(held.stored.attachment.addresses.iter().copied().map(ConntrackFilter::Address));
        Ok(())
    }

    async fn forget_flows_of(&mut self, addresses: &[IpAddr]) -> Result<(), NodeError> {
        let concerns = |f: &ConntrackFilter| matches!(f, ConntrackFilter::Address(a) if addresses.contains(a));
        let (now, later) = std::mem::take(&mut self.forget).into_iter().partition(concerns);
        self.forget = later;
        let now: Vec<ConntrackFilter> = now;
        if now.is_empty() { Ok(()) } else { self.carry_out(&[Step::PurgeConntrack(now)]).await }
    }

    pub(super) async fn gc(&mut self, network: &str, valid: &[AttachmentKey]) -> Result<Reply, Failure> {
        let stale =
            |(key, held): &(&AttachmentKey, &Held)| held.stored.attachment.network == network && !valid.contains(key);
        let stale: Vec<AttachmentKey> = self.attachments.iter().filter(stale).map(|(k, _)| k.clone()).collect();
        let mut failures = Vec::new();
        for key in stale {
            if let Err(failure) = self.leave(&key).await {
                failures.push(format!("{}: {failure}", key.container_id));
            }
        }
        if failures.is_empty() {
            return Ok(Reply::Done);
        }
        Err(Failure { code: code::IO, message: "some attachments remain".to_owned(), details: failures.join("; ") })
    }
}

/// The rules of a member that are to exist.
pub(super) fn rules_in(mode: PerPodRules, member: &Member) -> Vec<Rule> {
    if mode == PerPodRules::Present { member.rules.clone() } else { Vec::new() }
}

/// Names become file names: the characters CNI allows, and no others.
pub(super) fn is_key(key: &AttachmentKey) -> Result<(), Failure> {
    let (container, interface) = (&key.container_id, &key.interface);
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let container_fits = container.starts_with(|c: char| c.is_ascii_alphanumeric())
        && container.len() <= CONTAINER_MAX
        && container.chars().all(is_word);
    let interface_fits = (1..16).contains(&interface.len())
        && !interface.starts_with('.')
        && !interface.contains(|c: char| "/:".contains(c) || c.is_whitespace() || c.is_control());
    if container_fits && interface_fits {
        return Ok(());
    }
    Err(Failure {
        code: code::ENVIRONMENT,
        message: "invalid attachment name".to_owned(),
        details: format!(
            "container {container:?} interface {interface:?}; the runtime must follow the CNI specification"
        ),
    })
}

fn refused(rejection: &Rejection) -> Failure {
    let code = match rejection.reason {
        Reason::RouteNotFound => 100,
        Reason::NamespaceNotAllowed => 101,
        Reason::Conflicted => 105,
        Reason::NoAddress | Reason::AddressNotAllowed | Reason::ServiceNotFound | Reason::ServiceDoesNotSelectPod => {
            106
        }
        _ => 102,
    };
    Failure { code, message: rejection.message.clone(), details: rejection.to_string() }
}
