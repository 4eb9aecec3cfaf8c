//! From what is wanted to what is there, verified.

use sortie_core::allocation::{Demand, allocate};
use sortie_core::apply;
use sortie_core::desired::{Desired, Inputs, Skeleton, skeleton};
use sortie_core::plan::{self, misled, plan};
use sortie_core::selection::{Assignment, address_paths, interest, select_admitted};
use sortie_core::state::{ConntrackFilter, NftKey, NodeState, Step};
use sortie_core::world::NodeFacts;
use sortie_kernel::Platform;

use super::attach::rules_in;
use super::check::sentence;
use super::{Node, NodeError, Numbering, chain};

/// Most differences named in an error.
const NAMED: usize = 5;
/// Reconciles after the loss of our table in which misled flows are looked for, [`LOOK_AGAIN`] apart: answers
/// to packets that went astray arrive within that time.
const AFTERCARE: u8 = 8;
/// Time between two of them.
pub(crate) const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(50);

/// Whether anything was to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Approach {
    Unneeded,
    Done,
}

impl<P: Platform> Node<P> {
    /// Brings the kernel to what is wanted and reads it again; when addresses come new the next call does that.
    ///
    /// # Errors
    /// The kernel refused a step or still differs afterwards. The node is not ready then, and what was
    /// reached stays.
    pub(crate) async fn reconcile(&mut self) -> Result<(), NodeError> {
        let outcome = self.settle().await;
        self.ready = match &outcome {
            Ok(()) => Ok(()),
            Err(error) => Err(chain(error)),
        };
        self.tell();
        outcome
    }

    async fn settle(&mut self) -> Result<(), NodeError> {
        self.is_unseen = false;
        if self.world.cluster_networks(&self.settings.cluster_cidrs).is_empty() {
            return Err(NodeError::ClusterUnknown);
        }
        let mut facts = self.platform.facts().await?;
        facts.dead_hops = self.dead_hops.clone();
        self.foreign_tables = Some(facts.foreign_tables.clone());
        self.adopt();
        if self.skeleton.is_none() {
            self.recover().await?;
        }
        let assignments: Vec<Assignment> = self.held().map(|held| select_admitted(&self.world, held)).collect();
        self.owned = self.to_own();
        self.ask_carrier().await;
        self.renumber(&facts, &assignments)?;
        let next = self.build(&facts);
        if let Some(before) = &self.skeleton {
            self.forget.extend(next.switched_from(before));
            self.forget.extend(next.unserved(before, &self.world));
        }
        self.remember(&next, assignments);
        let mode = next.mode(self.members(), self.settings.steering, self.settings.rules_max);
        let desired = next.compose(self.members(), mode);
        self.skeleton = Some(next);
        self.mode = mode;
        self.bring(&desired).await?;
        self.shown = self.show(&facts);
        self.devices = facts.devices;
        if self.is_unseen { Ok(()) } else { self.write_down() }
    }

    /// Gives numbers to the routes and paths of the world and of these assignments.
    fn renumber(&mut self, facts: &NodeFacts, assignments: &[Assignment]) -> Result<(), NodeError> {
        let flows = assignments.iter().flat_map(|assignment| &assignment.flows);
        let own = flows.map(|flow| &flow.path).chain(&self.announced).filter(|path| path.service().is_some());
        let mut addresses = address_paths(&self.world);
        self.wanted = own.filter(|path| !addresses.contains(*path)).cloned().collect();
        addresses.extend(self.wanted.iter().chain(&self.holdings.wanted).cloned());
        let (world, numbers, giver) = (&self.world, self.settings.numbers, self.settings.giver);
        let demand = Demand { world, facts, numbers, addresses: &addresses, giver };
        let (allocation, refused) = allocate(&self.allocation, &demand);
        self.unnumbered = refused;
        if allocation != self.allocation || !self.store.knows_paths() {
            self.store.save_allocation(&allocation)?;
            self.allocation = allocation;
        }
        Ok(())
    }

    fn build(&self, facts: &NodeFacts) -> Skeleton {
        skeleton(&Inputs {
            world: &self.world,
            node: &self.settings.node,
            facts,
            allocation: &self.allocation,
            numbers: self.settings.numbers,
            cluster_cidrs: &self.settings.cluster_cidrs,
            owned: &self.owned,
            leased: &self.leased(),
            peering: self.peering().as_ref(),
        })
    }

    /// Assignments are in the order of [`Node::held`].
    fn remember(&mut self, skeleton: &Skeleton, assignments: Vec<Assignment>) {
        let held = self.attachments.values_mut().chain(&mut self.adopted);
        for (held, assignment) in held.zip(assignments) {
            held.member = skeleton.member(&held.stored.attachment.addresses, &assignment);
        }
    }

    /// Connections that come with an address are loaded before anything is sent with it: a packet of the same pod would
    /// begin another one, with another port perhaps.
    async fn bring(&mut self, desired: &Desired) -> Result<(), NodeError> {
        let observed = self.platform.observe().await?;
        let inherits = self.replication.is_some();
        if let Some(closed) = inherits.then(|| desired.before_new_sources(&observed)).flatten() {
            self.close(&observed, &closed).await?;
            self.play().await;
            return self.open(closed, desired).await;
        }
        match self.approach(&observed, desired).await? {
            Approach::Unneeded => self.believed = observed,
            Approach::Done => self.verify(desired).await?,
        }
        self.play().await;
        Ok(())
    }

    /// Nothing leaves yet with new addresses, so nobody waits here for what the next reconcile may do as well: flows whose
    /// packets are dropped in any case are forgotten, and what no packet needs any more is removed.
    async fn close(&mut self, observed: &NodeState, closed: &Desired) -> Result<(), NodeError> {
        let mut steps = self.ahead(observed, closed);
        steps.retain(|step| !plan::may_wait(step));
        let (later, now) = std::mem::take(&mut self.forget).into_iter().partition(ConntrackFilter::may_wait);
        self.forget = now;
        let outcome = self.change(&steps).await;
        if outcome.is_ok() {
            self.forget.clear();
        }
        self.forget.extend::<Vec<_>>(later);
        outcome
    }

    /// Gives the permission to send with new addresses. While the kernel would be read again the pods here had to wait,
    /// and nobody would be told where the addresses are: the next reconcile, which is due at once, verifies.
    async fn open(&mut self, closed: Desired, desired: &Desired) -> Result<(), NodeError> {
        let steps = plan(&closed.state, desired);
        self.believed = closed.state;
        self.carry_out(&steps).await?;
        self.is_unseen = true;
        Ok(())
    }

    async fn play(&mut self) {
        if self.replication.is_none() {
            return;
        }
        let part = self.part();
        if let Some(replication) = &mut self.replication {
            replication.play(part).await;
        }
    }

    async fn approach(&mut self, observed: &NodeState, desired: &Desired) -> Result<Approach, NodeError> {
        let steps = self.ahead(observed, desired);
        let is_needed = !steps.is_empty() || !self.forget.is_empty();
        if is_needed {
            self.change(&steps).await?;
        }
        self.forget.clear();
        Ok(if is_needed { Approach::Done } else { Approach::Unneeded })
    }

    /// What is to be done, and what is to be forgotten with it.
    fn ahead(&mut self, observed: &NodeState, desired: &Desired) -> Vec<Step> {
        let steps = plan(observed, desired);
        if observed.nft.is_none() && !desired.verdicts.is_empty() {
            self.aftercare = AFTERCARE;
        }
        if self.aftercare > 0 {
            self.aftercare -= 1;
            self.forget.extend(misled(desired));
        }
        if self.numbers == Numbering::Lost {
            self.forget.extend(carried(observed, desired.path_mask));
        }
        self.forget.extend(
            steps.iter().flat_map(|s| if let Step::PurgeConntrack(f) = s { f.as_slice() } else { &[] }).cloned(),
        );
        self.numbers = Numbering::Known;
        steps
    }

    /// Flows are forgotten last and all at once: what a failed attempt did not forget is still to be.
    async fn change(&mut self, steps: &[Step]) -> Result<(), NodeError> {
        if let Some(first) = steps.first() {
            self.repairs += 1;
            log::info!("reconcile steps={} first=\"{}\"", steps.len(), brief(first));
        }
        let (before, after) = steps.split_at(steps.iter().position(is_purge).unwrap_or(steps.len()));
        let forget = Step::PurgeConntrack(self.forget.clone());
        let purge = (!self.forget.is_empty()).then_some(&forget);
        for step in before.iter().chain(purge).chain(after.iter().filter(|s| !is_purge(s))) {
            log::debug!("apply step=\"{}\"", brief(step));
            self.platform.apply(step).await?;
        }
        Ok(())
    }

    async fn verify(&mut self, desired: &Desired) -> Result<(), NodeError> {
        self.believed = self.platform.observe().await?;
        let left = plan(&self.believed, desired);
        let named: Vec<String> = left.iter().filter(|s| !is_purge(s)).take(NAMED).map(brief).collect();
        if named.is_empty() { Ok(()) } else { Err(NodeError::Unsettled(named.join("; "))) }
    }

    /// What the plugin needs to know when it finds no helper, and what the next helper needs.
    fn write_down(&mut self) -> Result<(), NodeError> {
        let mode = self.mode;
        for held in self.attachments.values_mut() {
            let rules = rules_in(mode, &held.member);
            if held.stored.rules != rules {
                held.stored.rules = rules;
                self.store.save(&held.stored)?;
            }
        }
        while let Some(detached) = self.detached.last() {
            self.store.finish(detached)?;
            self.detached.pop();
        }
        Ok(self.store.save_interest(&interest(&self.world).namespaces)?)
    }

    /// Carries out steps and believes in their effect.
    pub(super) async fn carry_out(&mut self, steps: &[Step]) -> Result<(), NodeError> {
        for step in steps {
            self.platform.apply(step).await?;
            apply::apply(&mut self.believed, step);
        }
        Ok(())
    }

    /// What the kernel holds at this moment and what it should hold.
    pub(super) async fn compare(&mut self) -> Result<(NodeState, Option<Desired>), NodeError> {
        let observed = self.platform.observe().await?;
        let desired = self.skeleton.as_ref().map(|s| s.compose(self.members(), self.mode));
        Ok((observed, desired))
    }
}

fn is_purge(step: &Step) -> bool {
    matches!(step, Step::PurgeConntrack(_))
}

/// Flows of every path that the kernel knows.
fn carried(observed: &NodeState, mask: u32) -> Vec<ConntrackFilter> {
    let exits = observed.nft.iter().filter_map(|table| table.maps.get("exit"));
    let mark = |key: &NftKey| match key {
        NftKey::Mark(value) => Some(ConntrackFilter::Mark { value: *value, mask }),
        NftKey::Address(_) | NftKey::MarkAddress(..) => None,
    };
    exits.flat_map(|map| map.elements.keys().filter_map(mark)).collect()
}

/// A step in one line.
pub(crate) fn brief(step: &Step) -> String {
    sentence(step).unwrap_or_else(|| "connection tracking holds flows of a path that is gone".to_owned())
}
