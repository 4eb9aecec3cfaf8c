//! The kernel objects of Sortie on one node, desired or observed.
//!
//! Guarantees: two equal values mean the same kernel state, so that `plan` is a difference of sets.
//! Leaves out: everything in the kernel that does not carry our marks.

mod flows;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::model::{DeviceName, Family, PortRange, Protocol};

pub use flows::{ConntrackEntry, ConntrackFilter, Tuple, Verdicts};

/// Everything of ours in the kernel of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Policy rules with our protocol.
    pub rules: BTreeSet<Rule>,
    /// Routes with our protocol.
    pub routes: BTreeSet<Route>,
    /// Table `inet sortie`; `None` = absent.
    pub nft: Option<NftTable>,
    /// The device between nodes; `None` = absent.
    pub tunnel: Option<Tunnel>,
    /// Table `netdev sortie`, which addresses the frames of the tunnel; `None` = absent.
    pub frames: Option<NftTable>,
    /// `net.ipv4.conf.<device>.src_valid_mark` = 1.
    pub src_valid_mark: BTreeSet<DeviceName>,
}

/// A link-layer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The VXLAN device by which packets reach the node that sends them out (RFC 7348), with everything that belongs to it:
/// no learning, one permanent neighbour per family ([`crate::ids::TUNNEL_GATEWAY4`],
/// [`crate::ids::TUNNEL_GATEWAY6`]) with
/// [`crate::ids::TUNNEL_GATEWAY_MAC`], no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// This node's address on the outer packets.
    pub local: IpAddr,
    /// Link address of the device.
    pub mac: Mac,
    /// Where frames for a link address go: the forwarding table.
    pub peers: BTreeMap<Mac, IpAddr>,
}

/// A policy rule (`ip rule`); the action is always "look up a table".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Family.
    pub family: Family,
    /// Priority.
    pub priority: u32,
    /// Device the packet came in by.
    #[serde(default)]
    pub iif: Option<DeviceName>,
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

/// The rule in the words of `ip rule`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = |r: PortRange| format!("{}-{}", r.first, r.last);
        write!(f, "pref {}", self.priority)?;
        let words = [
            ("from", self.from.map(|n| n.to_string())),
            ("to", self.to.map(|n| n.to_string())),
            ("iif", self.iif.as_ref().map(ToString::to_string)),
            ("ipproto", self.protocol.map(|p| p.name().to_owned())),
            ("sport", self.source_ports.map(ports)),
            ("dport", self.destination_ports.map(ports)),
            ("fwmark", self.fwmark.map(|(value, mask)| format!("{value:#x}/{mask:#x}"))),
        ];
        for (name, value) in words {
            value.map_or(Ok(()), |value| write!(f, " {name} {value}"))?;
        }
        write!(f, " lookup {}", self.table)
    }
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

/// Which of our two tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableFamily {
    /// `inet sortie`.
    #[default]
    Inet,
    /// `netdev sortie`.
    Netdev,
}

/// An nftables table as data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NftTable {
    /// Family.
    pub family: TableFamily,
    /// Named counters.
    pub counters: BTreeSet<String>,
    /// Sets and maps by name.
    pub maps: BTreeMap<String, NftMap>,
    /// Chains by name.
    pub chains: BTreeMap<String, NftChain>,
}

/// A chain. Its identity on the node is the comment of its first rule, which holds the digest of its text.
#[derive(Clone, Debug, Default)]
pub struct NftChain {
    /// `type … hook … priority …; policy …;` for a base chain. `None` in an observed chain.
    pub hook: Option<String>,
    /// Rules in nft syntax, one each, the digest's comment not included. Empty in an observed chain.
    pub rules: Vec<String>,
    /// Digest of hook and rules, 16 hexadecimal digits: the comment of the first rule. Empty when that rule has none.
    pub digest: String,
    /// Number of rules.
    pub count: usize,
}

/// Chains are equal when their digest and number of rules are.
impl PartialEq for NftChain {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.count == other.count
    }
}

impl Eq for NftChain {}

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
    /// `map { type mark : ipv4_addr }` or `ipv6_addr`.
    MarkAddress(Family),
    /// `set { type mark . ipv4_addr }` or `ipv6_addr`.
    MarkedAddresses(Family),
    /// `map { type mark : ether_addr }`.
    MarkMac,
    /// `set { type nf_proto; flags timeout }`: permission to send while its members are there; no part of the state.
    Lease,
    /// Set of tuples whose members go by themselves; what it holds at a moment is no part of the state.
    Tuples(Family),
}

/// Key of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NftKey {
    /// Address.
    Address(IpAddr),
    /// Mark, host order.
    Mark(u32),
    /// Mark, host order, and address.
    MarkAddress(u32, IpAddr),
}

/// Value of an element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NftValue {
    /// Set member.
    Member,
    /// `goto CHAIN`.
    Goto(String),
    /// Address.
    Address(IpAddr),
    /// Link address.
    Mac(Mac),
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

/// One idempotent action on the kernel. The order of a plan is the order of its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `src_valid_mark` of a device to 1; the old value is recorded by the executor for uninstall.
    EnableSrcValidMark(DeviceName),
    /// Put the recorded value back, unless somebody changed it since.
    RestoreSrcValidMark(DeviceName),
    /// Create the tunnel's device, or bring it to this; one with another number, port or address is replaced.
    EnsureTunnel(Tunnel),
    /// Remove the tunnel's device; absent is success.
    RemoveTunnel,
    /// Create or replace a route (same table, destination and metric).
    EnsureRoute(Route),
    /// Remove a route; absent is success.
    RemoveRoute(Route),
    /// Add a rule; an equal rule of ours is success.
    EnsureRule(Rule),
    /// Remove a rule; absent is success.
    RemoveRule(Rule),
    /// One nftables transaction ([`crate::nft::text`] writes it).
    Nft(NftChange),
    /// One netlink transaction: remove, then add. Absent on removal and equal on add are success.
    Elements {
        /// Of which table.
        family: TableFamily,
        /// Removed first.
        remove: Vec<NftElement>,
        /// Then added.
        add: Vec<NftElement>,
    },
    /// Delete connection-tracking entries.
    PurgeConntrack(Vec<ConntrackFilter>),
}

/// One nftables transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NftChange {
    /// The whole table anew, whether or not it is there.
    Replace(NftTable),
    /// A part of a table that is there.
    Edit(NftEdit),
    /// The table goes; absent is success.
    Delete(TableFamily),
}

/// Changes inside the table, carried out in the order of the fields except that new chains exist first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NftEdit {
    /// Of which table.
    pub family: TableFamily,
    /// Chains created, or emptied and filled again.
    pub chains: BTreeMap<String, NftChain>,
    /// Elements removed; they must be there.
    pub remove: Vec<NftElement>,
    /// Elements added.
    pub add: Vec<NftElement>,
    /// Chains removed last.
    pub remove_chains: BTreeSet<String>,
}

impl NftEdit {
    /// Whether no packet notices it.
    #[must_use]
    pub fn only_removes_chains(&self) -> bool {
        self.chains.is_empty() && self.remove.is_empty() && self.add.is_empty()
    }
}
