//! A kernel in memory.
//!
//! Guarantees: every step has the effect and, where the kernel refuses, the refusal that the real one shows
//! in the contract tests; what hangs on the tunnel's device goes with it. Leaves out: packets, foreign state but devices,
//! and what rules inside a chain refer to.

use std::collections::BTreeMap;

use nix::libc;
use sortie_core::ids::TUNNEL_DEVICE;
use sortie_core::model::DeviceName;
use sortie_core::state::{
    ConntrackEntry, NftChain, NftChange, NftEdit, NftElement, NftTable, NftValue, NodeState, Route, RouteKind, Step,
    TableFamily, Tunnel,
};
use sortie_core::world::{Device, NodeFacts};

use crate::{KernelError, Platform};

/// The state of a node, open to tests.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    /// What [`Platform::facts`] tells.
    pub facts: NodeFacts,
    /// What [`Platform::observe`] tells.
    pub state: NodeState,
    /// What [`Platform::counters`] tells.
    pub counters: BTreeMap<String, u64>,
    /// Connection-tracking entries.
    pub conntrack: Vec<ConntrackEntry>,
    /// Whether [`Platform::can_address_frames`] says no.
    pub lacks_egress_hook: bool,
    /// Every step that was applied with success, in order.
    pub applied: Vec<Step>,
    /// errno with which the next steps are refused, one each; 0 lets a step pass.
    pub refusals: Vec<i32>,
}

impl Platform for Fake {
    async fn facts(&mut self) -> Result<NodeFacts, KernelError> {
        Ok(self.facts.clone())
    }

    async fn observe(&mut self) -> Result<NodeState, KernelError> {
        Ok(self.state.clone())
    }

    async fn apply(&mut self, step: &Step) -> Result<(), KernelError> {
        let errno = if self.refusals.is_empty() { 0 } else { self.refusals.remove(0) };
        if errno != 0 {
            return Err(refusal(errno, "as the test wants"));
        }
        self.take(step)?;
        self.applied.push(step.clone());
        Ok(())
    }

    async fn can_address_frames(&mut self) -> Result<(), KernelError> {
        if !self.lacks_egress_hook {
            return Ok(());
        }
        let (feature, needs) = ("the egress hook of devices", "as the test wants");
        Err(KernelError::Missing { feature, needs, detail: String::new() })
    }

    async fn counters(&mut self) -> Result<BTreeMap<String, u64>, KernelError> {
        Ok(self.counters.clone())
    }
}

impl Fake {
    fn take(&mut self, step: &Step) -> Result<(), KernelError> {
        let state = &mut self.state;
        match step {
            Step::EnableSrcValidMark(device) if !self.facts.devices.contains_key(device) => {
                return Err(refusal(libc::ENOENT, &device.0));
            }
            Step::EnableSrcValidMark(device) => drop(state.src_valid_mark.insert(device.clone())),
            Step::RestoreSrcValidMark(device) => drop(state.src_valid_mark.remove(device)),
            Step::EnsureRoute(route) => self.ensure_route(route)?,
            Step::RemoveRoute(route) => state.routes.retain(|present| !is_same_kind_and_place(present, route)),
            Step::EnsureRule(rule) => drop(state.rules.insert(rule.clone())),
            Step::RemoveRule(rule) => drop(state.rules.remove(rule)),
            Step::EnsureTunnel(tunnel) => self.ensure_tunnel(tunnel)?,
            Step::RemoveTunnel => self.remove_tunnel(),
            Step::Nft(NftChange::Replace(table)) => {
                *self.table(table.family) = Some(checked(as_observed(table))?);
            }
            Step::Nft(NftChange::Edit(edit)) => self.edit(edit)?,
            Step::Nft(NftChange::Delete(family)) => *self.table(*family) = None,
            Step::Elements { family, remove, add } => self.elements(*family, remove, add)?,
            Step::PurgeConntrack(filters) => self.conntrack.retain(|e| !filters.iter().any(|f| f.selects(e))),
        }
        Ok(())
    }

    fn ensure_route(&mut self, route: &Route) -> Result<(), KernelError> {
        if let RouteKind::Unicast { hops, .. } = &route.kind
            && let Some(hop) = hops.iter().find(|hop| !self.facts.devices.contains_key(&hop.device))
        {
            return Err(refusal(libc::ENODEV, &hop.device.0));
        }
        self.state.routes.retain(|present| place(present) != place(route));
        self.state.routes.insert(route.clone());
        Ok(())
    }

    /// A device with another address is a new one.
    fn ensure_tunnel(&mut self, tunnel: &Tunnel) -> Result<(), KernelError> {
        let is_kept = |present: &Tunnel| (present.local, present.mac) == (tunnel.local, tunnel.mac);
        if !self.state.tunnel.as_ref().is_some_and(is_kept) {
            self.remove_tunnel();
            let index = self.facts.devices.values().map(|device| device.index).max().unwrap_or(0) + 1;
            let device = Device { index, up: true, mtu: 1500, addresses: Vec::new() };
            if self.facts.devices.contains_key(&tunnel_device()) {
                return Err(refusal(libc::EEXIST, TUNNEL_DEVICE));
            }
            self.facts.devices.insert(tunnel_device(), device);
        }
        self.state.tunnel = Some(tunnel.clone());
        Ok(())
    }

    /// Older kernels take the chains of its egress hook with the device; newer ones keep them for the next.
    fn remove_tunnel(&mut self) {
        if self.state.tunnel.take().is_none() {
            return;
        }
        let device = tunnel_device();
        self.facts.devices.remove(&device);
        self.state.src_valid_mark.remove(&device);
        self.state.routes.retain(|route| !leads_into(route, &device));
        if let Some(frames) = &mut self.state.frames {
            frames.chains.clear();
        }
    }

    fn table(&mut self, family: TableFamily) -> &mut Option<NftTable> {
        match family {
            TableFamily::Inet => &mut self.state.nft,
            TableFamily::Netdev => &mut self.state.frames,
        }
    }

    fn edit(&mut self, edit: &NftEdit) -> Result<(), KernelError> {
        let mut table = self.table(edit.family).clone().ok_or_else(|| refusal(libc::ENOENT, "table"))?;
        for (name, chain) in &edit.chains {
            table.chains.insert(name.clone(), chain_as_observed(chain));
        }
        for element in &edit.remove {
            let removed = table.maps.get_mut(&element.map).and_then(|map| map.elements.remove(&element.key));
            removed.ok_or_else(|| refusal(libc::ENOENT, &element.map))?;
        }
        add_elements(&mut table, &edit.add)?;
        for name in &edit.remove_chains {
            table.chains.remove(name).ok_or_else(|| refusal(libc::ENOENT, name))?;
        }
        *self.table(edit.family) = Some(checked(table)?);
        Ok(())
    }

    fn elements(&mut self, family: TableFamily, remove: &[NftElement], add: &[NftElement]) -> Result<(), KernelError> {
        let Some(mut table) = self.table(family).clone() else {
            return if add.is_empty() { Ok(()) } else { Err(refusal(libc::ENOENT, "table")) };
        };
        for element in remove {
            if let Some(map) = table.maps.get_mut(&element.map) {
                map.elements.remove(&element.key);
            }
        }
        add_elements(&mut table, add)?;
        *self.table(family) = Some(checked(table)?);
        Ok(())
    }
}

fn tunnel_device() -> DeviceName {
    DeviceName(TUNNEL_DEVICE.to_owned())
}

fn leads_into(route: &Route, device: &DeviceName) -> bool {
    matches!(&route.kind, RouteKind::Unicast { hops, .. } if hops.iter().any(|hop| hop.device == *device))
}

/// What makes two routes one for the kernel.
fn place(route: &Route) -> (u32, ipnetwork::IpNetwork, u32) {
    (route.table, route.destination, route.metric)
}

fn is_same_kind_and_place(a: &Route, b: &Route) -> bool {
    place(a) == place(b) && std::mem::discriminant(&a.kind) == std::mem::discriminant(&b.kind)
}

fn add_elements(table: &mut NftTable, elements: &[NftElement]) -> Result<(), KernelError> {
    for element in elements {
        let map = table.maps.get_mut(&element.map).ok_or_else(|| refusal(libc::ENOENT, &element.map))?;
        let before = map.elements.insert(element.key, element.value.clone());
        if before.is_some_and(|before| before != element.value) {
            return Err(refusal(libc::EEXIST, &element.map));
        }
    }
    Ok(())
}

/// Every `goto` of an element must lead somewhere.
fn checked(table: NftTable) -> Result<NftTable, KernelError> {
    let values = table.maps.values().flat_map(|map| map.elements.values());
    for value in values {
        if let NftValue::Goto(chain) = value
            && !table.chains.contains_key(chain)
        {
            return Err(refusal(libc::ENOENT, chain));
        }
    }
    Ok(table)
}

fn as_observed(table: &NftTable) -> NftTable {
    let chains = table.chains.iter().map(|(name, chain)| (name.clone(), chain_as_observed(chain))).collect();
    NftTable { chains, ..table.clone() }
}

fn chain_as_observed(chain: &NftChain) -> NftChain {
    NftChain { hook: None, rules: Vec::new(), ..chain.clone() }
}

fn refusal(errno: i32, object: &str) -> KernelError {
    let source = std::io::Error::from_raw_os_error(errno);
    KernelError::Netlink { operation: "change", object: object.to_owned(), source }
}
