//! The kernel of the network namespace this process runs in.
//!
//! Guarantees: what [`Platform`] promises; sockets stay open, so that a change costs microseconds.
//! Leaves out: decisions, retries and the order of steps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sortie_core::ids::Numbers;
use sortie_core::state::{ConntrackFilter, NodeState, Step, TableFamily};
use sortie_core::world::NodeFacts;

use crate::blocking::{Conntrack, Elements, Rules};
use crate::{KernelError, Platform};

pub(crate) mod links;
pub(crate) mod nft;
mod own;
mod routes;
mod saved;
pub(crate) mod switches;
mod tunnel;

pub use own::Own;
pub(crate) use routes::{is_claimed, table_and_protocol};

use links::Links;
use routes::Routes;
use saved::SrcValidMark;
use tunnel::Tunnels;

/// The real kernel.
pub struct Linux {
    numbers: Numbers,
    links: Links,
    routes: Routes,
    rules: Rules,
    tunnels: Tunnels,
    elements: Elements,
    flows: Arc<Mutex<Flows>>,
    src_valid_mark: SrcValidMark,
    own: Own,
}

/// Connection tracking, and the set that keeps answers to what was deleted from making it anew.
struct Flows {
    conntrack: Conntrack,
    late: Elements,
}

impl Flows {
    fn forget(&mut self, filters: &[ConntrackFilter]) -> Result<usize, KernelError> {
        let Self { conntrack, late } = self;
        conntrack.delete_with(filters, |answers| late.hold_back(answers))
    }
}

impl Linux {
    /// Opens the sockets in the network namespace of the calling thread. Values that are changed outside
    /// our own objects are kept in the file `saved` until they are restored.
    ///
    /// # Errors
    /// When the kernel refuses a socket or `saved` cannot be read.
    pub fn open(numbers: Numbers, saved: impl Into<PathBuf>) -> Result<Self, KernelError> {
        let (links, routes, rules, elements) = (Links::open()?, Routes::open()?, Rules::open()?, Elements::open()?);
        let tunnels = Tunnels::open(numbers)?;
        let flows = Flows { conntrack: Conntrack::open()?, late: Elements::open()? };
        let own = Own::of([routes.port(), rules.port(), tunnels.port(), elements.port(), flows.late.port()]);
        let flows = Arc::new(Mutex::new(flows));
        let src_valid_mark = SrcValidMark::load(saved.into())?;
        Ok(Self { numbers, links, routes, rules, tunnels, elements, flows, src_valid_mark, own })
    }

    /// By whom changes are our own; for [`crate::Events`].
    #[must_use]
    pub fn own(&self) -> Own {
        self.own.clone()
    }

    /// A walk over a large table takes long enough to be kept off the runtime's threads.
    async fn purge(&self, filters: &[ConntrackFilter]) -> Result<(), KernelError> {
        let (flows, filters) = (Arc::clone(&self.flows), filters.to_vec());
        let work = move || flows.lock().unwrap_or_else(PoisonError::into_inner).forget(&filters);
        let deleted = tokio::task::spawn_blocking(work)
            .await
            .map_err(|join| KernelError::Answer { operation: "purge conntrack", detail: join.to_string() })??;
        log::debug!("deleted connection-tracking entries count={deleted}");
        Ok(())
    }
}

impl Platform for Linux {
    async fn facts(&mut self) -> Result<NodeFacts, KernelError> {
        let devices = self.links.devices()?;
        let foreign_tables = self.routes.foreign_tables(&self.numbers)?;
        Ok(NodeFacts { devices, dead_hops: BTreeSet::new(), foreign_tables })
    }

    async fn observe(&mut self) -> Result<NodeState, KernelError> {
        let names = self.links.names()?;
        Ok(NodeState {
            rules: self.rules.list(0..=u32::MAX)?,
            routes: self.routes.list(&names)?,
            nft: self.elements.table(TableFamily::Inet)?,
            tunnel: self.tunnels.observe()?,
            frames: self.elements.table(TableFamily::Netdev)?,
            src_valid_mark: self.src_valid_mark.enabled(),
        })
    }

    async fn apply(&mut self, step: &Step) -> Result<(), KernelError> {
        match step {
            Step::EnableSrcValidMark(device) => self.src_valid_mark.enable(device),
            Step::RestoreSrcValidMark(device) => self.src_valid_mark.restore(device),
            Step::EnsureTunnel(tunnel) => self.tunnels.ensure(tunnel),
            Step::RemoveTunnel => self.tunnels.remove(),
            Step::EnsureRoute(route) => self.routes.ensure(route, &self.links.names()?),
            Step::RemoveRoute(route) => self.routes.remove(route),
            Step::EnsureRule(rule) => self.rules.ensure(rule),
            Step::RemoveRule(rule) => self.rules.remove(rule),
            Step::Nft(change) => nft::run(&sortie_core::nft::text(change), &self.own).await,
            Step::Elements { family, remove, add } => self.elements.apply(*family, remove, add),
            Step::PurgeConntrack(filters) => self.purge(filters).await,
        }
    }

    async fn can_address_frames(&mut self) -> Result<(), KernelError> {
        nft::check_egress_hook().await
    }

    async fn counters(&mut self) -> Result<BTreeMap<String, u64>, KernelError> {
        self.elements.counters()
    }
}
