//! Our tables, `inet sortie` and `netdev sortie`, as the kernel holds them.
//!
//! Guarantees: all parts are of one generation of the ruleset; ten thousand elements take milliseconds.
//! Leaves out: the text of rules: a chain is known by the digest in its first rule's comment and its number of rules.
//! Sets and maps of kinds we never create are left out, too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nix::libc;
use sortie_core::ids;
use sortie_core::model::Family;
use sortie_core::state::{Mac, NftChain, NftKey, NftMap, NftMapKind, NftTable, NftValue, TableFamily};

use super::Elements;
use super::elements::{body, element, list, list_body, table_name};
use crate::KernelError;
use crate::netlink::Refusal;
use crate::netlink::attribute::Attributes;
use crate::netlink::message::Message;
use crate::netlink::nfgen::{self, nftables};

/// A concurrent transaction between two of our dumps makes us start again.
const ATTEMPTS: usize = 20;

/// Attribute 1 of table, chain, rule, set and object messages is the table's name.
const TABLE: u16 = 1;
/// `NFTA_CHAIN_NAME`.
const CHAIN_NAME: u16 = 3;
/// `NFTA_RULE_CHAIN`, `NFTA_RULE_USERDATA`.
const RULE_CHAIN: u16 = 2;
const RULE_USERDATA: u16 = 7;
/// Type of the comment in a rule's user data (libnftnl, `NFTNL_UDATA_RULE_COMMENT`).
const RULE_COMMENT: u8 = 0;
/// `enum nft_set_attributes`.
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_DATA_TYPE: u16 = 6;
/// `NFT_SET_ANONYMOUS | NFT_SET_INTERVAL`.
const SET_FOREIGN_FLAGS: u32 = 0x1 | 0x4;
/// `NFT_DATA_VERDICT`.
const TYPE_VERDICT: u32 = 0xffff_ff00;
/// Key types of `nft` (`include/datatype.h`).
const TYPE_NFPROTO: u32 = 2;
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_ETHER: u32 = 9;
const TYPE_MARK: u32 = 19;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_SERVICE: u32 = 13;
/// Bits of one part of a concatenation's type (`TYPE_BITS`).
const TYPE_BITS: u32 = 6;
const TYPE_MARKED4: u32 = TYPE_MARK << TYPE_BITS | TYPE_IPV4;
const TYPE_MARKED6: u32 = TYPE_MARK << TYPE_BITS | TYPE_IPV6;
const TYPE_TUPLE4: u32 = tuple_type(TYPE_IPV4);
const TYPE_TUPLE6: u32 = tuple_type(TYPE_IPV6);
/// `enum nft_object_attributes`, `NFT_OBJECT_COUNTER`, `NFTA_COUNTER_PACKETS`.
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
const OBJECT_COUNTER: u32 = 1;
const COUNTER_PACKETS: u16 = 2;

impl Elements {
    /// The whole table of a family; `None` when it is absent.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn table(&mut self, family: TableFamily) -> Result<Option<NftTable>, KernelError> {
        self.read("list", family, Self::read_table)
    }

    /// Packets seen by every named counter of `inet sortie`; empty when it is absent.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn counters(&mut self) -> Result<BTreeMap<String, u64>, KernelError> {
        self.read("list counters of", TableFamily::Inet, Self::read_counters).map(Option::unwrap_or_default)
    }

    /// Reads in one generation; a table that goes away meanwhile is absent.
    fn read<T>(
        &mut self,
        operation: &'static str,
        family: TableFamily,
        what: impl Fn(&mut Self, &mut Reading) -> Result<T, Refusal>,
    ) -> Result<Option<T>, KernelError> {
        for _ in 0..ATTEMPTS {
            let mut reading = Reading { family, generation: Generation::default() };
            let found = self.require_table(&mut reading).and_then(|()| what(self, &mut reading));
            // What is empty says of no generation, and of a table that is gone everything is empty.
            let found = found.and_then(|found| self.require_table(&mut reading).map(|()| found));
            let generation = reading.generation;
            match found {
                Err(refusal) if refusal.is(libc::ENOENT) && generation.is_one() => return Ok(None),
                Err(refusal) if refusal.is(libc::ENOENT) => {}
                Err(refusal) => return Err(refusal.about(operation, format!("table {}", table_name(family)))),
                Ok(found) if generation.is_one() => return Ok(Some(found)),
                Ok(_) => {}
            }
        }
        Err(KernelError::Answer { operation, detail: "the ruleset changes faster than it can be read".into() })
    }

    fn require_table(&mut self, reading: &mut Reading) -> Result<(), Refusal> {
        let mut body = body(reading.family);
        body.text(TABLE, ids::NFT_TABLE);
        self.connection.query(nftables::GETTABLE, &body.into_bytes(), |message| reading.generation.see(&message))
    }

    fn read_table(&mut self, reading: &mut Reading) -> Result<NftTable, Refusal> {
        let chains = self.read_chains(reading)?;
        let mut maps = BTreeMap::new();
        for (name, kind) in self.dump((nftables::GETSET, nftables::NEWSET), reading, set_of)? {
            let elements = match kind {
                NftMapKind::Tuples(_) | NftMapKind::Lease => BTreeMap::new(),
                _ => self.read_elements(&name, kind, reading)?,
            };
            maps.insert(name, NftMap { kind, elements });
        }
        let counters = self.read_counters(reading)?.into_keys().collect::<BTreeSet<_>>();
        Ok(NftTable { family: reading.family, counters, maps, chains })
    }

    fn read_chains(&mut self, reading: &mut Reading) -> Result<BTreeMap<String, NftChain>, Refusal> {
        let names = self.dump((nftables::GETCHAIN, nftables::NEWCHAIN), reading, |a| a.text(CHAIN_NAME))?;
        let mut chains: BTreeMap<_, _> = names.into_iter().map(|name| (name, NftChain::default())).collect();
        let rules = self.dump((nftables::GETRULE, nftables::NEWRULE), reading, |attributes| {
            let comment = attributes.find(RULE_USERDATA).and_then(comment);
            Some((attributes.text(RULE_CHAIN)?, comment))
        })?;
        for (name, comment) in rules {
            let chain = chains.entry(name).or_default();
            if chain.count == 0 {
                chain.digest = comment.unwrap_or_default();
            }
            chain.count += 1;
        }
        Ok(chains)
    }

    fn read_counters(&mut self, reading: &mut Reading) -> Result<BTreeMap<String, u64>, Refusal> {
        let counters = self.dump((nftables::GETOBJ, nftables::NEWOBJ), reading, |attributes| {
            let packets = attributes.nested(OBJECT_DATA)?.find(COUNTER_PACKETS)?.first_chunk()?;
            (attributes.be32(OBJECT_TYPE)? == OBJECT_COUNTER)
                .then_some((attributes.text(OBJECT_NAME)?, u64::from_be_bytes(*packets)))
        })?;
        Ok(counters.into_iter().collect())
    }

    fn read_elements(
        &mut self,
        set: &str,
        kind: NftMapKind,
        reading: &mut Reading,
    ) -> Result<BTreeMap<NftKey, NftValue>, Refusal> {
        let mut elements = BTreeMap::new();
        let datagrams =
            self.connection.dump(nftables::GETSETELEM, &list_body(reading.family, set).into_bytes(), |message| {
                reading.generation.see(&message);
                let members = nfgen::attributes(message.body).nested(list::ELEMENTS)?;
                Some(members.filter_map(|(_, member)| member_of(kind, Attributes::of(member))).collect::<Vec<_>>())
            })?;
        datagrams.into_iter().for_each(|members| elements.extend(members));
        Ok(elements)
    }

    /// What `read` finds in the messages of one kind that are about our table.
    fn dump<T>(
        &mut self,
        (request, answer): (u16, u16),
        reading: &mut Reading,
        read: impl Fn(Attributes<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        let mut body = body(reading.family);
        // Newer kernels filter by it, older ones list every table.
        if request != nftables::GETCHAIN {
            body.text(TABLE, ids::NFT_TABLE);
        }
        self.connection.dump(request, &body.into_bytes(), |message| {
            reading.generation.see(&message);
            let attributes = nfgen::attributes(message.body);
            let ours = message.header.kind == answer && attributes.text(TABLE)? == ids::NFT_TABLE;
            ours.then(|| read(attributes)).flatten()
        })
    }
}

/// One reading of a table.
struct Reading {
    family: TableFamily,
    generation: Generation,
}

/// The ruleset generations seen: the low 16 bits stand in every answer (`nfgenmsg.res_id`).
#[derive(Default)]
struct Generation {
    seen: BTreeSet<[u8; 2]>,
}

impl Generation {
    fn see(&mut self, message: &Message<'_>) {
        if let Some([_, _, high, low]) = message.body.first_chunk::<{ nfgen::HEADER }>() {
            self.seen.insert([*high, *low]);
        }
    }

    fn is_one(&self) -> bool {
        self.seen.len() <= 1
    }
}

/// The comment among a rule's user data: type, length and value, one byte each for the first two.
fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == RULE_COMMENT {
            return Some(crate::netlink::attribute::text(value));
        }
        data = &rest[value.len()..];
    }
    None
}

/// Addresses, protocol and ports, in the order of the set's declaration.
const fn tuple_type(address: u32) -> u32 {
    let addresses = address << TYPE_BITS | address;
    (addresses << TYPE_BITS | TYPE_PROTOCOL) << (2 * TYPE_BITS) | TYPE_SERVICE << TYPE_BITS | TYPE_SERVICE
}

fn set_of(attributes: Attributes<'_>) -> Option<(String, NftMapKind)> {
    let flags = attributes.be32(SET_FLAGS).unwrap_or(0);
    if flags & SET_FOREIGN_FLAGS != 0 {
        return None;
    }
    let kind = match (attributes.be32(SET_KEY_TYPE)?, attributes.be32(SET_DATA_TYPE)) {
        (TYPE_IPV4, None) => NftMapKind::Addresses(Family::V4),
        (TYPE_IPV6, None) => NftMapKind::Addresses(Family::V6),
        (TYPE_IPV4, Some(TYPE_VERDICT)) => NftMapKind::AddressVerdict(Family::V4),
        (TYPE_IPV6, Some(TYPE_VERDICT)) => NftMapKind::AddressVerdict(Family::V6),
        (TYPE_MARK, Some(TYPE_VERDICT)) => NftMapKind::MarkVerdict,
        (TYPE_MARK, Some(TYPE_IPV4)) => NftMapKind::MarkAddress(Family::V4),
        (TYPE_MARK, Some(TYPE_IPV6)) => NftMapKind::MarkAddress(Family::V6),
        (TYPE_MARK, Some(TYPE_ETHER)) => NftMapKind::MarkMac,
        (TYPE_MARKED4, None) => NftMapKind::MarkedAddresses(Family::V4),
        (TYPE_MARKED6, None) => NftMapKind::MarkedAddresses(Family::V6),
        (TYPE_NFPROTO, None) => NftMapKind::Lease,
        (TYPE_TUPLE4, None) => NftMapKind::Tuples(Family::V4),
        (TYPE_TUPLE6, None) => NftMapKind::Tuples(Family::V6),
        _ => return None,
    };
    Some((attributes.text(SET_NAME)?, kind))
}

fn member_of(kind: NftMapKind, attributes: Attributes<'_>) -> Option<(NftKey, NftValue)> {
    let bytes = attributes.nested(element::KEY)?.find(element::DATA_VALUE)?;
    let mark = || Some(u32::from_ne_bytes(*bytes.first_chunk()?));
    let key = match kind {
        NftMapKind::Addresses(family) | NftMapKind::AddressVerdict(family) => {
            NftKey::Address(address_of(family, bytes)?)
        }
        NftMapKind::MarkVerdict | NftMapKind::MarkAddress(_) | NftMapKind::MarkMac => NftKey::Mark(mark()?),
        NftMapKind::MarkedAddresses(family) => NftKey::MarkAddress(mark()?, address_of(family, bytes.get(4..)?)?),
        NftMapKind::Tuples(_) | NftMapKind::Lease => return None,
    };
    let data = || attributes.nested(element::DATA)?.find(element::DATA_VALUE);
    let value = match kind {
        NftMapKind::MarkAddress(family) => NftValue::Address(address_of(family, data()?)?),
        NftMapKind::MarkMac => NftValue::Mac(Mac(*data()?.first_chunk()?)),
        _ => verdict_of(attributes),
    };
    Some((key, value))
}

fn address_of(family: Family, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        Family::V4 => bytes.first_chunk::<4>().map(|b| IpAddr::from(*b)),
        Family::V6 => bytes.first_chunk::<16>().map(|b| IpAddr::from(*b)),
    }
}

/// A verdict other than `goto` is shown as a chain name that none can have, so that it is replaced.
fn verdict_of(attributes: Attributes<'_>) -> NftValue {
    let Some(data) = attributes.nested(element::DATA) else { return NftValue::Member };
    let verdict = data.nested(element::DATA_VERDICT);
    let chain = verdict
        .filter(|v| v.be32(element::VERDICT_CODE) == Some(element::GOTO))
        .and_then(|v| v.text(element::VERDICT_CHAIN));
    NftValue::Goto(chain.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_is_found_behind_other_user_data() {
        assert_eq!(comment(&[7, 1, 9, 0, 3, b'a', b'b', 0]).as_deref(), Some("ab"));
        assert_eq!(comment(&[7, 1, 9]), None);
        assert_eq!(comment(&[0, 9, 1]), None, "truncated");
    }
}
