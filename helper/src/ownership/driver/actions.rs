//! What the machine wants done.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sortie_core::model::ObjectName;
use sortie_core::ownership::{Action, Identity, Input, Millis, NodeNumber};
use sortie_kernel::announce::link_addresses;

use super::{Driver, Owners, Saved, clock, identity as name_of};
use crate::ownership::Holding;
use crate::ownership::probes;
use crate::ownership::words::{Dealings, Published};
use crate::store;

impl Driver {
    pub(super) async fn act(&mut self, actions: Vec<Action>) -> anyhow::Result<()> {
        if actions.iter().any(|action| matches!(action, Action::Publish { .. } | Action::Withdraw { .. })) {
            self.owners = Owners::Unsettled;
        }
        for action in actions {
            if !matches!(action, Action::Send(..) | Action::RenewLease { .. } | Action::ProbeNextHop(_)) {
                log::debug!("action={action:?}");
            }
            match action {
                Action::Withdraw { identity, successor } => self.withdraw(&identity, successor),
                Action::Claim { identity, epoch, consent } => self.claim(&identity, Holding { epoch, consent }),
                Action::Conflict(identity) => self.conflict(&identity),
                Action::RenewLease { until } => self.renew(until)?,
                Action::Publish { .. } => self.publish().await?,
                Action::HandOver { identity, to } => log::info!("handing over identity={identity} to={}", to.0),
                Action::Send(to, message) => self.peers.send_note(to.0, serde_json::to_vec(&message)?).await?,
                // A newer table is fetched as soon as its version is heard.
                Action::Fetch(_) => {}
                Action::ProbeOnWire { identity, started } => self.probe_wire(identity, started),
                Action::ProbeNextHop(identity) => self.probe_hop(identity)?,
            }
        }
        Ok(())
    }

    fn claim(&mut self, identity: &Identity, holding: Holding) {
        let Some(unit) = self.plan.units.get(identity) else { return };
        log::info!("claiming identity={identity} epoch={} consent={:?}", holding.epoch, holding.consent);
        self.now.conflicts.remove(&unit.service);
        self.now.held.insert(unit.service.clone(), holding);
    }

    fn withdraw(&mut self, identity: &Identity, successor: Option<NodeNumber>) {
        log::info!("withdrawing identity={identity} successor={:?}", successor.map(|node| node.0));
        self.now.held.retain(|service, _| name_of(service) != *identity);
    }

    fn conflict(&mut self, identity: &Identity) {
        let Some(unit) = self.plan.units.get(identity) else { return };
        log::warn!("a station that is no peer answers for an address, it is not claimed identity={identity}");
        self.now.conflicts.insert(unit.service.clone());
    }

    /// Without our table there is nothing to permit; the next renewal is due in a moment.
    fn renew(&mut self, until: Option<Millis>) -> anyhow::Result<()> {
        let time = until.map_or(0, |until| until.since(clock().unwrap_or(until)));
        if let Err(error) = self.lease.renew_lease(Duration::from_millis(time)) {
            log::debug!("the lease is not renewed error={}", crate::node::chain(&error));
        }
        Ok(())
    }

    pub(super) async fn publish(&mut self) -> anyhow::Result<()> {
        self.saved.table = self.machine.table().clone();
        save(&self.file, &self.saved)?;
        let links = link_addresses()?.into_iter().map(|mac| mac.0).collect();
        let Dealings { offer, wanted } = self.dealings.clone();
        let table = self.saved.table.clone();
        let published = Published { table, links, offer: offer.into_iter().collect(), wanted };
        let version = published.table.version;
        Ok(self.peers.set_table(version, serde_json::to_vec(&published)?).await?)
    }

    fn probe_wire(&mut self, identity: Identity, started: Millis) {
        let places = self.plan.units.get(&identity).map(|unit| unit.places.clone()).unwrap_or_default();
        let (known, prober) = (self.heard.known.clone(), Arc::clone(&self.prober));
        self.probes.spawn(async move {
            let sighting = probes::wire(&prober, places, &known).await;
            Input::Wire { identity, started, sighting }
        });
    }

    fn probe_hop(&mut self, identity: Identity) -> anyhow::Result<()> {
        let hops = self.plan.units.get(&identity).map(|unit| unit.hops.clone()).unwrap_or_default();
        let sent = clock()?;
        let prober = Arc::clone(&self.prober);
        self.probes.spawn(async move { Input::NextHop { identity, sent, reach: probes::hop(&prober, hops).await } });
        Ok(())
    }

    /// Tells the daemon if anything is new.
    pub(super) fn tell(&mut self) {
        if self.owners == Owners::Unsettled {
            let owners = self.machine.owners().into_iter();
            self.now.owners = owners.filter_map(|(identity, node)| Some((service(identity)?, node.0))).collect();
            (self.now.offers, self.now.wanted) = (self.heard.offers(), self.heard.wanted());
            self.owners = Owners::Told;
        }
        self.now.held.retain(|service, _| self.plan.units.contains_key(&name_of(service)));
        self.now.has_left = self.is_leaving && !self.machine.holds_anything();
        let now = &self.now;
        self.told.send_if_modified(|told| {
            let is_new = told != now;
            told.clone_from(now);
            is_new
        });
    }
}

fn service(identity: &Identity) -> Option<ObjectName> {
    let (namespace, name) = identity.0.strip_prefix("service/")?.split_once('/')?;
    Some(ObjectName { namespace: namespace.to_owned(), name: name.to_owned() })
}

fn save(file: &Path, saved: &Saved) -> anyhow::Result<()> {
    Ok(store::write_for_this_boot(file, saved)?)
}
