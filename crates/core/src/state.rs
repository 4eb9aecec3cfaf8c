//! The kernel objects of Sortie on one node, desired or observed.
//!
//! Guarantees: two equal values mean the same kernel state, so that `plan` is a difference of sets.
//! Leaves out: everything in the kernel that does not carry our marks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::model::{DeviceName, Family, PortRange, Protocol};

/// Everything of ours in the kernel of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Policy rules with our protocol.
    pub rules: BTreeSet<Rule>,
    /// Routes with our protocol.
    pub routes: BTreeSet<Route>,
    /// Table `inet sortie`; `None` = absent.
    pub nft: Option<NftTable>,
    /// `net.ipv4.conf.<device>.src_valid_mark` = 1.
    pub src_valid_mark: BTreeSet<DeviceName>,
}

/// A policy rule (`ip rule`); the action is always "look up a table".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Family.
    pub family: Family,
    /// Priority.
    pub priority: u32,
    /// Source network.
    pub from: Option<IpNetwork>,
    /// Destination network.
    pub to: Option<IpNetwork>,
    /// Transport protocol.
    pub protocol: Option<Protocol>,
    /// Source ports.
    pub source_ports: Option<PortRange>,
    /// Destination ports.
    pub destination_ports: Option<PortRange>,
    /// Value and mask.
    pub fwmark: Option<(u32, u32)>,
    /// Table looked up.
    pub table: u32,
}

/// A route in a table of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Table.
    pub table: u32,
    /// Destination; its family is the route's.
    pub destination: IpNetwork,
    /// Metric; 0 = the kernel's default (IPv6 shows 1024, the adapter maps it back).
    pub metric: u32,
    /// What it does.
    pub kind: RouteKind,
}

/// What a route does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// Go on with the next rule.
    Throw,
    /// Refuse with an ICMP error.
    Unreachable,
    /// Send.
    Unicast {
        /// One or more hops, sorted.
        hops: Vec<Hop>,
        /// Route MTU.
        mtu: Option<u32>,
    },
}

/// One hop of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// Device.
    pub device: DeviceName,
    /// Gateway, reached with the `onlink` flag; `None` = directly connected.
    pub gateway: Option<IpAddr>,
    /// Weight, 1..=256; 1 for a single hop.
    pub weight: u16,
}

/// The nftables table as data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NftTable {
    /// Named counters.
    pub counters: BTreeSet<String>,
    /// Sets and maps by name.
    pub maps: BTreeMap<String, NftMap>,
    /// Chains by name.
    pub chains: BTreeMap<String, NftChain>,
}

/// A chain: its identity on the node is its comment, which holds the digest of its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NftChain {
    /// `type … hook … priority …;` for a base chain.
    pub hook: Option<String>,
    /// Rules in nft syntax, one each. Empty in an observed chain, which is compared by `digest` and `count`.
    pub rules: Vec<String>,
    /// Digest of hook and rules, 16 hexadecimal digits, carried in the chain's comment.
    pub digest: String,
    /// Number of rules.
    pub count: usize,
}

/// A set or map with its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NftMap {
    /// Type.
    pub kind: NftMapKind,
    /// Elements; a set's values are [`NftValue::Member`].
    pub elements: BTreeMap<NftKey, NftValue>,
}

/// Declared type of a set or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NftMapKind {
    /// `set { type ipv4_addr }` or `ipv6_addr`.
    Addresses(Family),
    /// `map { type ipv4_addr : verdict }` or `ipv6_addr`.
    AddressVerdict(Family),
    /// `map { type mark : verdict }`.
    MarkVerdict,
}

/// Key of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NftKey {
    /// Address.
    Address(IpAddr),
    /// Mark, host order.
    Mark(u32),
}

/// Value of an element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NftValue {
    /// Set member.
    Member,
    /// `goto CHAIN`.
    Goto(String),
}

/// One element with the map it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NftElement {
    /// Set or map.
    pub map: String,
    /// Key.
    pub key: NftKey,
    /// Value.
    pub value: NftValue,
}

/// Which connection-tracking entries to delete.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConntrackFilter {
    /// Either direction's source is the address.
    Address(IpAddr),
    /// Original source is the address and the masked connection mark has this value.
    AddressWithMark {
        /// Pod address.
        address: IpAddr,
        /// Value after masking.
        value: u32,
        /// Mask.
        mask: u32,
    },
    /// The masked connection mark has this value.
    Mark {
        /// Value after masking.
        value: u32,
        /// Mask.
        mask: u32,
    },
    /// Any bit under the mask is set.
    AnyMark {
        /// Mask.
        mask: u32,
    },
}

/// One idempotent action on the kernel. The order of a plan is the order of its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `src_valid_mark` of a device to 1; the old value is recorded by the executor for uninstall.
    EnableSrcValidMark(DeviceName),
    /// Put the recorded value back, unless somebody changed it since.
    RestoreSrcValidMark(DeviceName),
    /// Create or replace a route (same table, destination and metric).
    EnsureRoute(Route),
    /// Remove a route; absent is success.
    RemoveRoute(Route),
    /// Add a rule; an equal rule of ours is success.
    EnsureRule(Rule),
    /// Remove a rule; absent is success.
    RemoveRule(Rule),
    /// One nftables transaction in nft syntax.
    Nft(String),
    /// One netlink transaction: remove, then add. Absent on removal and equal on add are success.
    Elements {
        /// Removed first.
        remove: Vec<NftElement>,
        /// Then added.
        add: Vec<NftElement>,
    },
    /// Delete connection-tracking entries.
    PurgeConntrack(Vec<ConntrackFilter>),
}
