//! nftables in text: digests of chains and transactions for `nft -f`.
//!
//! Guarantees: the text of a change is one transaction; two chains with one digest have one text.
//! Leaves out: which chains and elements there are, which is [`crate::desired`]'s.

use std::fmt::Write as _;

use crate::ids::NFT_TABLE;
use crate::model::Family;
use crate::state::{
    NftChain, NftChange, NftEdit, NftElement, NftKey, NftMap, NftMapKind, NftTable, NftValue, TableFamily,
};

/// Most elements a mark map can hold: one per path (datapath: `size` is fixed at creation).
const MARK_MAP_SIZE: u32 = 4096;
/// Most selected addresses of pods of a node.
const ADDRESS_SET_SIZE: u32 = 65_536;
/// Most tuples a set holds at a time: more than connection tracking has entries on usual nodes.
const TUPLE_SET_SIZE: u32 = 1_048_576;
/// How long a tuple stays.
const TUPLE_TIMEOUT: &str = "2s";

/// The set whose members permit sending with addresses that other nodes could own; the lease's holder fills it.
pub const LEASE_SET: &str = "lease";

/// The set of answers to flows that were just forgotten; the executor of a purge fills it.
#[must_use]
pub fn late_set(family: Family) -> &'static str {
    match family {
        Family::V4 => "late4",
        Family::V6 => "late6",
    }
}

/// A chain with its digest.
#[must_use]
pub fn chain(hook: Option<&str>, rules: Vec<String>) -> NftChain {
    let digest = digest(hook.into_iter().chain(rules.iter().map(String::as_str)));
    NftChain { hook: hook.map(str::to_owned), count: rules.len(), rules, digest }
}

/// 16 hexadecimal digits over the parts (FNV-1a, 64 bits; a mark of identity, not a defence).
#[must_use]
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.into_iter().flat_map(|p| p.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

/// The change as input of `nft -f -`.
#[must_use]
pub fn text(change: &NftChange) -> String {
    match change {
        NftChange::Replace(table) => replace(table),
        NftChange::Edit(edit) => edit_text(edit),
        NftChange::Delete(family) => {
            let table = named(*family);
            format!("table {table} {{}}\ndelete table {table}\n")
        }
    }
}

/// Family and name of the table.
#[must_use]
pub fn named(family: TableFamily) -> String {
    match family {
        TableFamily::Inet => format!("inet {NFT_TABLE}"),
        TableFamily::Netdev => format!("netdev {NFT_TABLE}"),
    }
}

fn replace(table: &NftTable) -> String {
    let mut out = Script { text: text(&NftChange::Delete(table.family)), table: named(table.family) };
    let name = out.table.clone();
    out.line(format_args!("add table {name}"));
    for counter in &table.counters {
        out.line(format_args!("add counter {name} {counter}"));
    }
    for (name, map) in &table.maps {
        out.declare_map(name, map.kind);
    }
    for (name, chain) in &table.chains {
        out.declare_chain(name, chain);
    }
    for (name, chain) in &table.chains {
        out.fill_chain(name, chain);
    }
    let elements: Vec<NftElement> = table.maps.iter().flat_map(|(name, map)| elements_of(name, map)).collect();
    out.change_elements("add", &elements);
    out.text
}

fn edit_text(edit: &NftEdit) -> String {
    let mut out = Script { text: String::new(), table: named(edit.family) };
    for (name, chain) in &edit.chains {
        out.declare_chain(name, chain);
        out.chain("flush", name);
    }
    for (name, chain) in &edit.chains {
        out.fill_chain(name, chain);
    }
    out.change_elements("delete", &edit.remove);
    out.change_elements("add", &edit.add);
    edit.remove_chains.iter().for_each(|name| out.chain("flush", name));
    edit.remove_chains.iter().for_each(|name| out.chain("delete", name));
    out.text
}

/// The elements of one set or map.
pub fn elements_of<'a>(name: &'a str, map: &'a NftMap) -> impl Iterator<Item = NftElement> + 'a {
    map.elements.iter().map(|(key, value)| NftElement { map: name.to_owned(), key: *key, value: value.clone() })
}

/// A transaction that is being written, and the table it is about.
struct Script {
    text: String,
    table: String,
}

impl Script {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.text, "{text}");
    }

    fn chain(&mut self, verb: &str, name: &str) {
        let _ = writeln!(self.text, "{verb} chain {} {name}", self.table);
    }

    fn declare_map(&mut self, name: &str, kind: NftMapKind) {
        let (keyword, declared) = declaration(kind);
        let _ = writeln!(self.text, "add {keyword} {} {name} {{ {declared} }}", self.table);
    }

    fn declare_chain(&mut self, name: &str, chain: &NftChain) {
        let _ = match &chain.hook {
            Some(hook) => writeln!(self.text, "add chain {} {name} {{ {hook} }}", self.table),
            None => writeln!(self.text, "add chain {} {name}", self.table),
        };
    }

    fn fill_chain(&mut self, name: &str, chain: &NftChain) {
        for (index, rule) in chain.rules.iter().enumerate() {
            let _ = write!(self.text, "add rule {} {name} {rule}", self.table);
            if index == 0 {
                let _ = write!(self.text, " comment \"{}\"", chain.digest);
            }
            self.text.push('\n');
        }
    }

    fn change_elements(&mut self, verb: &str, elements: &[NftElement]) {
        for element in elements {
            let _ = write!(self.text, "{verb} element {} {} {{ {}", self.table, element.map, key(element.key));
            let _ = match &element.value {
                NftValue::Goto(chain) => write!(self.text, " : goto {chain}"),
                NftValue::Address(address) => write!(self.text, " : {address}"),
                NftValue::Mac(mac) => write!(self.text, " : {mac}"),
                NftValue::Member => Ok(()),
            };
            self.text.push_str(" }\n");
        }
    }
}

/// Keyword and body.
fn declaration(kind: NftMapKind) -> (&'static str, String) {
    match kind {
        NftMapKind::Addresses(family) => ("set", format!("type {}; size {ADDRESS_SET_SIZE};", address_type(family))),
        // Without a size, because the kernel walks all places of such a map whenever a verdict is added: with six maps of
        // 65 536 places an ADD took 0.6 ms longer.
        NftMapKind::AddressVerdict(family) => ("map", format!("type {} : verdict;", address_type(family))),
        NftMapKind::MarkVerdict => ("map", format!("type mark : verdict; size {MARK_MAP_SIZE};")),
        NftMapKind::MarkAddress(family) => {
            ("map", format!("type mark : {}; size {MARK_MAP_SIZE};", address_type(family)))
        }
        NftMapKind::MarkedAddresses(family) => {
            ("set", format!("type mark . {}; size {MARK_MAP_SIZE};", address_type(family)))
        }
        NftMapKind::Lease => ("set", "type nf_proto; size 16; flags timeout;".to_owned()),
        NftMapKind::Tuples(family) => ("set", tuples(address_type(family))),
        NftMapKind::MarkMac => ("map", format!("type mark : ether_addr; size {MARK_MAP_SIZE};")),
    }
}

fn tuples(address: &str) -> String {
    let key = format!("{address} . {address} . inet_proto . inet_service . inet_service");
    format!("type {key}; size {TUPLE_SET_SIZE}; flags timeout; timeout {TUPLE_TIMEOUT};")
}

fn address_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

fn key(key: NftKey) -> String {
    match key {
        NftKey::Address(address) => address.to_string(),
        NftKey::Mark(mark) => format!("{mark:#010x}"),
        NftKey::MarkAddress(mark, address) => format!("{mark:#010x} . {address}"),
    }
}
