//! The guard: whatever leaves is looked at once more, behind routing and rewriting.
//!
//! Guarantees: a packet of a path leaves the node only if it carries the mark of its path's exit, leaves by one of that
//! exit's devices and has the source its path demands, or if it is an answer to a connection from outside and leaves by a
//! device of its exit. A path that needs the lease is asked for it first, in both directions. Leaves out: packets into the
//! tunnel, which are [`super::tunnel`]'s.
//!
//! The usual packet costs one lookup and one rule: `gsrc` leads from its path to a chain for one exit and one kind of
//! source, whose rule compares the mark and the device with constants. Nothing is remembered about packets, flows, pods
//! or addresses that were found good:
//!
//! - *A device's address* is looked for at that moment, in the kernel's own table. An address that is taken away, or put
//!   on another device, counts from the next packet on.
//! - *A pod's address* and *an address of a Service* are elements that exist once, in the sets that selection and
//!   ownership use themselves. A pod or an address that goes takes its permission with it in the same transaction.
//! - *A device* is compared by name: one that is renamed is another one, one that comes back with another index is the same.
//! - *Another exit, device or kind of source of a path* changes its element here or the chain that this leads to, in one
//!   transaction with the element that leads to its exit. A packet under way in between bears the old mark: it matches
//!   neither and is dropped.
//! - *A path that is gone* has no element. What still carries it goes on to `gx`, which knows exits only, and lets nothing
//!   out but answers by a device of theirs.
//! - *The lease* ends in the set that is asked before anything else of such a path.

use ipnetwork::IpNetwork;

use super::chains::{device_list, insert, named, owned, returns};
use super::exits::Exit;
use super::marks::{Marks, Numbering};
use super::{Inputs, vips};
use crate::ids::{EXIT_ADDRESS, EXIT_MAIN, EXIT_NONE, TUNNEL_DEVICE};
use crate::nft::chain;
use crate::state::{NftKey, NftTable};

/// Packets of a path with a wrong exit, device or source.
const DROP: &str = "drop_guard";

/// The exit that packets of a path leave by.
#[derive(Clone, Copy)]
pub(super) enum Way<'a> {
    /// That of a route, by its devices.
    Route(&'a Exit),
    /// The main table with the address of a Service, by any device.
    Address,
    /// None.
    Nowhere,
}

/// The source that they have to have.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// An address of the device.
    Device,
    /// A selected pod's own.
    Pod,
    /// One of a Service.
    Address,
    /// One of a Service that other nodes could own.
    Leased,
}

impl Way<'_> {
    /// Its number.
    pub(super) fn exit(self) -> u8 {
        match self {
            Self::Route(exit) => exit.number,
            Self::Address => EXIT_ADDRESS,
            Self::Nowhere => EXIT_NONE,
        }
    }

    /// What packets have that go this way; nothing where none may go.
    fn taken(self, marks: Marks) -> Option<String> {
        let marked = format!("{} == {:#010x}", marks.exit(), marks.exit_value(self.exit()));
        match self {
            Self::Route(exit) => Some(format!("{marked} oifname {}", device_list(exit)?)),
            Self::Address => Some(marked),
            Self::Nowhere => None,
        }
    }
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Pod => "pod",
            Self::Address => "address",
            Self::Leased => "leased",
        }
    }

    /// What packets have that come from it, each suffices.
    fn shown(self, inputs: &Inputs<'_>, marks: Marks) -> Vec<String> {
        match self {
            Self::Device => owned(&["fib saddr . oif type local"]),
            // Identity was bound where a packet out of the tunnel came from: the pod is another node's.
            Self::Pod => {
                let own = owned(&["ip saddr @pods4", "ip6 saddr @pods6"]);
                own.into_iter().chain(inputs.peering.map(|_| format!("iifname \"{TUNNEL_DEVICE}\""))).collect()
            }
            Self::Address | Self::Leased => vips::permitted(marks),
        }
    }
}

/// The chains that every packet of a path meets, and those of the exits that no route has.
pub(super) fn declare(table: &mut NftTable, inputs: &Inputs<'_>, excluded: &[IpNetwork], marks: Marks) {
    table.counters.insert(DROP.to_owned());
    let tunnel = inputs.peering.map(|_| format!("oifname \"{TUNNEL_DEVICE}\" goto tout"));
    let path = marks.path();
    // What connection tracking does not know (neighbour discovery) has no mark to compare, and matches neither rule.
    let usual = [format!("{path} vmap @gsrc"), format!("{path} != 0 goto gx")];
    let guard = tunnel.into_iter().chain(usual).collect();
    let mut drop = returns(excluded, "daddr", None);
    drop.push(format!("counter name {DROP} drop"));
    table.chains.extend(named(vec![
        ("guard", Some("type filter hook postrouting priority 300; policy accept;"), guard),
        ("gx", None, vec![format!("{} vmap @gexit", marks.exit()), "goto gdrop".to_owned()]),
        ("gdrop", None, drop),
    ]));
    add_exit(table, EXIT_NONE, owned(&["goto gdrop"]), marks);
    add_exit(table, EXIT_MAIN, owned(&["return"]), marks);
}

/// What leaves by a way and is not what its path demands: answers of an inbound flow carry the address their client
/// called.
pub(super) fn add_way(table: &mut NftTable, way: Way<'_>, marks: Marks) {
    let devices = match way {
        Way::Route(exit) => device_list(exit).map(|devices| vec![format!("oifname != {devices} goto gdrop")]),
        Way::Address => Some(Vec::new()),
        Way::Nowhere => None,
    };
    let answers = |mut rules: Vec<String>| {
        rules.push("ct direction reply return".to_owned());
        rules
    };
    let rules = devices.map(answers).unwrap_or_default();
    add_exit(table, way.exit(), rules.into_iter().chain(["goto gdrop".to_owned()]).collect(), marks);
}

/// What becomes of packets that bear an exit's mark and are not what their path demands.
pub(super) fn add_exit(table: &mut NftTable, exit: u8, rules: Vec<String>, marks: Marks) {
    let name = format!("g{exit}");
    insert(table, "gexit", NftKey::Mark(marks.exit_value(exit)), &name);
    table.chains.insert(name, chain(None, rules));
}

/// From now on packets of this path leave this way with this source, or as answers, or not at all.
pub(super) fn expect(table: &mut NftTable, key: NftKey, (way, source): (Way<'_>, Source), numbering: &Numbering<'_>) {
    let name = prepare(table, (way, source), numbering);
    insert(table, "gsrc", key, &name);
}

/// The chain for it, which is there before a path needs it; its name.
pub(super) fn prepare(table: &mut NftTable, (way, source): (Way<'_>, Source), numbering: &Numbering<'_>) -> String {
    let Numbering { marks, inputs, .. } = *numbering;
    let name = format!("g{}_{}", way.exit(), source.name());
    table.chains.entry(name.clone()).or_insert_with(|| {
        let lease = matches!(source, Source::Leased).then(vips::lease_rule);
        let pass =
            |way: String| source.shown(inputs, marks).into_iter().map(move |from| format!("{way} {from} accept"));
        let passes = way.taken(marks).into_iter().flat_map(pass);
        // Never `return`: the chain was entered by `goto`, and behind it is the policy, which accepts.
        chain(None, lease.into_iter().chain(passes).chain(["goto gx".to_owned()]).collect())
    });
    name
}
