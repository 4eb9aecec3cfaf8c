//! What the kernel of this node should hold.
//!
//! Guarantees: the same inputs give the same state; what a selected pod may not send is dropped by two
//! independent means (an exit table that ends in `unreachable`, and the guard). Leaves out: how to get
//! there, which is [`crate::plan`]'s, and which flows are selected, which is [`crate::selection`]'s.
//!
//! The state is a [`Skeleton`], the same for any pods, plus one [`Member`] per attachment, so that an ADD
//! needs its own member only.

mod chains;
mod exits;
mod guard;
mod marks;
mod members;
mod probes;
mod tunnel;
mod vips;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

pub use exits::{Exit, HopState, Lane, NodeMatch};
pub use members::Member;

use crate::allocation::Allocation;
use crate::ids::{EXIT_MAIN, Numbers, PRIORITY_MAIN, TABLE_MAIN};
use crate::model::{DeviceName, Family, ObjectName};
use crate::selection::{Condition, PathKey};
use crate::state::{ConntrackFilter, NftElement, NftKey, NftMap, NftMapKind, NftTable, NodeState, Rule, Verdicts};
use crate::steering::{Offer, Peers, Remote};
use crate::world::{NodeFacts, World};

/// Whether per-pod rules exist in addition to marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Steering {
    /// While few.
    #[default]
    Auto,
    /// Always.
    Rules,
    /// Never.
    Marks,
}

/// Everything the skeleton depends on.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Objects.
    pub world: &'a World,
    /// This node's name.
    pub node: &'a str,
    /// This node's devices.
    pub facts: &'a NodeFacts,
    /// Numbers of tables, exits and paths for exactly this world.
    pub allocation: &'a Allocation,
    /// Marks and ranges.
    pub numbers: Numbers,
    /// `--cluster-cidr`.
    pub cluster_cidrs: &'a [IpNetwork],
    /// Services whose addresses this node owns now.
    pub owned: &'a BTreeSet<ObjectName>,
    /// The other nodes, if packets may leave by them.
    pub peering: Option<&'a Peering>,
    /// Those of them that other nodes could own, too: sending with their addresses needs the lease.
    pub leased: &'a BTreeSet<ObjectName>,
}

/// The other nodes of the cluster, and what leaves by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    /// This node's number.
    pub number: u16,
    /// This node's address among them.
    pub local: IpAddr,
    /// The others.
    pub peers: Peers,
    /// Exits of this node's last state.
    pub before: BTreeMap<PathKey, Remote>,
    /// Services whose addresses were handed over a moment ago: what others still send here for them passes.
    pub passing: BTreeSet<ObjectName>,
}

/// The part of the desired state that does not depend on pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skeleton {
    /// Marks and ranges.
    pub numbers: Numbers,
    /// Numbers of tables, exits and paths.
    pub allocation: Allocation,
    /// Exits by route.
    pub exits: BTreeMap<String, Exit>,
    /// Conditions of routes.
    pub conditions: Vec<Condition>,
    state: NodeState,
    doors: BTreeSet<DeviceName>,
    excluded: Vec<IpNetwork>,
    owned: BTreeSet<ObjectName>,
    addresses: BTreeMap<u32, Vec<IpAddr>>,
    /// Paths whose exit is another node.
    pub remote: BTreeMap<PathKey, Remote>,
}

/// The whole desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Kernel state.
    pub state: NodeState,
    /// Whether per-pod rules are part of it.
    pub per_pod_rules: PerPodRules,
    /// What the flows of each selected address carry.
    pub verdicts: BTreeMap<IpAddr, Verdicts>,
    /// Bits of the connection mark that hold the path.
    pub path_mask: u32,
    /// Addresses of the Services owned here, by the connection mark of each of their paths.
    pub addresses: BTreeMap<u32, Vec<IpAddr>>,
}

impl Desired {
    /// The same, but that nothing may be sent yet with addresses that come new; `None` when none does. What is dropped
    /// by the guard leaves no connection, so that those of the former owner can be loaded first.
    #[must_use]
    pub fn before_new_sources(&self, observed: &NodeState) -> Option<Self> {
        let present = |name: &str, key: &NftKey| {
            let map = observed.nft.as_ref().and_then(|table| table.maps.get(name));
            map.is_some_and(|map| map.elements.contains_key(key))
        };
        let elements = |name: &'static str| {
            let map = self.state.nft.as_ref().and_then(|table| table.maps.get(name));
            map.into_iter().flat_map(|map| map.elements.keys()).map(move |key| (name, key))
        };
        if vips::PERMITTED.into_iter().flat_map(elements).all(|(name, key)| present(name, key)) {
            return None;
        }
        let mut closed = self.clone();
        let maps = closed.state.nft.iter_mut().flat_map(|table| &mut table.maps);
        for (name, map) in maps.filter(|(name, _)| vips::PERMITTED.contains(&name.as_str())) {
            map.elements.retain(|key, _| present(name, key));
        }
        Some(closed)
    }
}

/// Whether per-pod rules exist at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerPodRules {
    /// They do.
    Present,
    /// They do not.
    Absent,
}

/// Builds the skeleton.
#[must_use]
pub fn skeleton(inputs: &Inputs<'_>) -> Skeleton {
    let exits = exits::exits(inputs);
    let remote = tunnel::remote(inputs, &exits);
    let cluster: Vec<IpNetwork> = inputs.world.cluster_networks(inputs.cluster_cidrs).into_iter().collect();
    let mut state = NodeState::default();
    exits::install(&exits, &cluster, inputs.numbers, &mut state);
    state.rules.extend(vips::rules(inputs));
    tunnel::install(inputs, (&exits, &remote), &cluster, &mut state);
    let excluded = chains::excluded(&cluster);
    state.nft = Some(chains::table(inputs, (&exits, &remote), &excluded));
    let conditions = exits.values().flat_map(Exit::conditions).collect();
    Skeleton {
        numbers: inputs.numbers,
        allocation: inputs.allocation.clone(),
        exits,
        conditions,
        state,
        doors: doors(inputs.facts, &cluster),
        excluded,
        owned: inputs.owned.clone(),
        addresses: vips::of_paths(inputs),
        remote,
    }
}

/// Devices by which others may reach a pod: those with an address outside the cluster's pod networks.
fn doors(facts: &NodeFacts, cluster: &[IpNetwork]) -> BTreeSet<DeviceName> {
    let outside = |address: &IpNetwork| address.is_ipv4() && is_outside(address.ip(), cluster);
    let devices = facts.devices.iter().filter(|(_, d)| d.addresses.iter().any(outside));
    devices.map(|(name, _)| name.clone()).collect()
}

/// Whether others than pods may have the address.
pub(crate) fn is_outside<'a>(address: IpAddr, cluster: impl IntoIterator<Item = &'a IpNetwork>) -> bool {
    let mut pods = cluster.into_iter().filter(|network| network.prefix() < host_prefix(**network));
    !address.is_loopback() && !pods.any(|network| network.contains(address))
}

pub(crate) fn host_prefix(network: IpNetwork) -> u8 {
    if network.is_ipv4() { 32 } else { 128 }
}

impl Skeleton {
    /// The whole state with these members.
    #[must_use]
    pub fn compose<'a>(&self, members: impl Iterator<Item = &'a Member> + Clone, mode: PerPodRules) -> Desired {
        let mut state = self.state.clone();
        if let Some(table) = &mut state.nft {
            members.clone().for_each(|member| add_member(table, member));
            if mode == PerPodRules::Present {
                chains::add_door(table, self.numbers);
            }
        }
        if mode == PerPodRules::Present {
            state.rules.extend(self.main_rules());
            state.rules.extend(members.clone().flat_map(|m| m.rules.iter().cloned()));
            state.src_valid_mark.extend(self.doors.iter().cloned());
        }
        let verdicts = members.flat_map(|m| m.verdicts.iter().map(|(a, v)| (*a, v.clone()))).collect();
        let (path_mask, addresses) = (self.numbers.ct_mark.0, self.addresses.clone());
        Desired { state, per_pod_rules: mode, verdicts, path_mask, addresses }
    }

    /// Whether these members' rules are to exist; without any rule there is nothing to be present.
    pub fn mode<'a>(
        &self,
        members: impl Iterator<Item = &'a Member> + Clone,
        steering: Steering,
        rules_max: usize,
    ) -> PerPodRules {
        let most = Family::ALL.into_iter().map(|f| members.clone().map(|m| m.rules_of(f)).sum::<usize>()).max();
        match (steering, most.unwrap_or(0)) {
            (Steering::Marks, _) | (_, 0) => PerPodRules::Absent,
            (Steering::Auto, most) if most > rules_max => PerPodRules::Absent,
            _ => PerPodRules::Present,
        }
    }

    /// Flows to forget because their path moved to or from the main table (`whenUnavailable: UseMainTable`) or another
    /// node: their source was rewritten for the other way. Those that were inherited with an address stay.
    #[must_use]
    pub fn switched_from(&self, before: &Self) -> Vec<ConntrackFilter> {
        let filter = |(path, number): (&PathKey, &u16)| {
            let (now, then) = (self.departure(path)?, before.departure(path)?);
            let (value, mask) = (self.numbers.ct_mark.place(u32::from(*number)), self.numbers.ct_mark.0);
            let comes = now == (true, then.1);
            let forgotten = match self.addresses.get(&value).filter(|_| comes) {
                Some(addresses) => ConntrackFilter::Unaddressed { value, mask, addresses: addresses.clone() },
                None => ConntrackFilter::Mark { value, mask },
            };
            (now != then).then_some(forgotten)
        };
        self.allocation.paths.iter().filter_map(filter).collect()
    }

    /// Whether a path leaves by this node, and in which families its route takes the main table; `None` without the
    /// route.
    fn departure(&self, path: &PathKey) -> Option<(bool, Option<[bool; 2]>)> {
        let main = match path.route() {
            Some(route) => {
                let lanes = &self.exits.get(route)?.lanes;
                Some(Family::ALL.map(|family| lanes.get(&family) == Some(&Lane::Main)))
            }
            None => None,
        };
        Some((self.leaves_here(path), main))
    }

    /// Flows to forget because this node did not own their address and does now: what a client sent here meanwhile led
    /// nowhere, and would for as long as it sends.
    #[must_use]
    pub fn unserved(&self, before: &Self, world: &World) -> Vec<ConntrackFilter> {
        let gained = self.owned.difference(&before.owned).filter_map(|name| world.services.get(name));
        let (mask, inside) = (self.numbers.ct_mark.0, &self.excluded);
        let filter = |address: &IpAddr| ConntrackFilter::Unserved { address: *address, mask, inside: inside.clone() };
        gained.flat_map(|service| service.addresses.iter().map(filter)).collect()
    }

    /// Networks that are never selected: the cluster, link-local, multicast and broadcast.
    #[must_use]
    pub fn excluded(&self) -> &[IpNetwork] {
        &self.excluded
    }

    /// Whether this node owns the addresses of a Service.
    #[must_use]
    pub fn owns(&self, service: &ObjectName) -> bool {
        self.owned.contains(service)
    }

    /// What other nodes may send here.
    #[must_use]
    pub fn offer(&self) -> Offer {
        let paths = self.allocation.paths.iter().filter(|(path, _)| self.leaves_here(path));
        paths.map(|(path, number)| (path.clone(), *number)).collect()
    }

    fn leaves_here(&self, path: &PathKey) -> bool {
        match path {
            PathKey::Route { route, .. } => self.exits.get(route).is_some_and(Exit::is_open),
            PathKey::Address { service, .. } => self.owned.contains(service),
            PathKey::Closed => false,
        }
    }

    fn main_rules(&self) -> impl Iterator<Item = Rule> {
        let mark = self.numbers.packet_mark;
        Family::ALL.into_iter().map(move |family| Rule {
            family,
            priority: PRIORITY_MAIN,
            iif: None,
            from: None,
            to: None,
            protocol: None,
            source_ports: None,
            destination_ports: None,
            fwmark: Some((mark.place(u32::from(EXIT_MAIN)), mark.0)),
            table: TABLE_MAIN,
        })
    }
}

fn add_member(table: &mut NftTable, member: &Member) {
    for (name, chain) in &member.chains {
        table.chains.entry(name.clone()).or_insert_with(|| chain.clone());
    }
    for NftElement { map, key, value } in &member.elements {
        if let Some(map) = table.maps.get_mut(map) {
            map.elements.insert(*key, value.clone());
        }
    }
}

pub(crate) fn empty_map(kind: NftMapKind) -> NftMap {
    NftMap { kind, elements: BTreeMap::new() }
}
