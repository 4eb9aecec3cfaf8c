//! Elements of the sets and maps in our tables, `inet sortie` and `netdev sortie`.
//!
//! Guarantees: one call is one transaction; what is absent already is not an error on removal, what is
//! equal already is not an error on addition. Leaves out: the table, its sets, maps and chains, which must be
//! there. The messages follow `linux/netfilter/nf_tables.h`.

use std::collections::BTreeMap;
use std::io;

use nix::libc;
use sortie_core::ids;
use sortie_core::model::Family;
use sortie_core::nft::late_set;
use sortie_core::state::{NftElement, NftKey, NftValue, TableFamily, Tuple};

use crate::KernelError;
use crate::netlink::attribute::{Writer, octets};
use crate::netlink::message::flag;
use crate::netlink::nfgen::{self, Batch, nftables};
use crate::netlink::{Connection, Refusal};

/// Nested attributes of one message; an attribute holds at most 65 535 bytes.
const LIST_LIMIT: usize = 60_000;
/// Somebody else may remove elements between our look and our transaction; then we look again.
const ATTEMPTS: usize = 4;

/// `enum nft_set_elem_list_attributes`.
pub(super) mod list {
    pub(in crate::blocking) const TABLE: u16 = 1;
    pub(in crate::blocking) const SET: u16 = 2;
    pub(in crate::blocking) const ELEMENTS: u16 = 3;
    pub(in crate::blocking) const ELEMENT: u16 = 1;
}
/// `enum nft_set_elem_attributes`, `enum nft_data_attributes`, `enum nft_verdict_attributes`.
pub(super) mod element {
    pub(in crate::blocking) const KEY: u16 = 1;
    pub(in crate::blocking) const DATA: u16 = 2;
    pub(in crate::blocking) const DATA_VALUE: u16 = 1;
    pub(in crate::blocking) const DATA_VERDICT: u16 = 2;
    pub(in crate::blocking) const VERDICT_CODE: u16 = 1;
    pub(in crate::blocking) const VERDICT_CHAIN: u16 = 2;
    /// `NFT_GOTO`.
    pub(in crate::blocking) const GOTO: u32 = -4_i32 as u32;
}

/// Elements of our tables, over one long-lived socket: closing the socket of a removal waits
/// for an RCU grace period (14 ms measured).
pub struct Elements {
    pub(super) connection: Connection,
}

impl Elements {
    /// Opens the socket; needs CAP_NET_ADMIN.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket or its buffers.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self { connection: Connection::netfilter()? })
    }

    /// The same, with changes that [`crate::Events`] does not report.
    ///
    /// # Errors
    /// As [`Elements::open`].
    #[cfg(feature = "async")]
    pub fn open_as(own: &crate::Own) -> Result<Self, KernelError> {
        let elements = Self::open()?;
        own.add_socket(elements.port());
        Ok(elements)
    }

    /// Removes, then adds, in one transaction: readers see either all of it or nothing. Removing and adding
    /// one key replaces its value.
    ///
    /// # Errors
    /// What the kernel answers; `EEXIST` or `EBUSY` when an added key has another value.
    pub fn apply(&mut self, family: TableFamily, remove: &[NftElement], add: &[NftElement]) -> Result<(), KernelError> {
        let object = || format!("elements of {} -{} +{}", table_name(family), remove.len(), add.len());
        let mut removed: Vec<&NftElement> = remove.iter().collect();
        for _ in 0..ATTEMPTS {
            if removed.is_empty() && add.is_empty() {
                return Ok(());
            }
            match self.transaction(family, &removed, add) {
                // One absent element fails the whole transaction.
                Err(refusal) if refusal.is(libc::ENOENT) && !removed.is_empty() => {
                    let before = removed.len();
                    removed = self.present(family, removed)?;
                    if removed.len() == before {
                        return Err(refusal.about("change", object()));
                    }
                }
                other => return other.map_err(|refusal| refusal.about("change", object())),
            }
        }
        let source = io::Error::from_raw_os_error(libc::EAGAIN);
        Err(KernelError::Netlink { operation: "change", object: object(), source })
    }

    /// Has packets that open a flow with one of these tuples dropped for some seconds. Without our table
    /// there is nobody to do so, and that is no error.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn hold_back(&mut self, answers: &[Tuple]) -> Result<(), KernelError> {
        let with_ports = answers.iter().filter(|tuple| tuple.source_port != 0 && tuple.destination_port != 0);
        let by_set = with_ports.map(|tuple| (late_set(Family::of(tuple.source)), tuple));
        let bodies = bodies(TableFamily::Inet, by_set, write_tuple);
        if bodies.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::begin(&mut self.connection);
        for body in bodies {
            batch.push(&mut self.connection, (nftables::NEWSETELEM, flag::CREATE), &body);
        }
        match batch.commit(&mut self.connection) {
            Err(refusal) if refusal.is(libc::ENOENT) => Ok(()),
            other => other.map_err(|refusal| refusal.about("hold back", format!("{} answers", answers.len()))),
        }
    }

    /// Port by which notifications about our transactions are recognised.
    #[cfg(feature = "async")]
    pub(crate) fn port(&self) -> u32 {
        self.connection.port()
    }

    fn transaction(&mut self, family: TableFamily, remove: &[&NftElement], add: &[NftElement]) -> Result<(), Refusal> {
        let mut batch = Batch::begin(&mut self.connection);
        for body in bodies(family, remove.iter().map(|e| (e.map.as_str(), *e)), write_key) {
            batch.push(&mut self.connection, (nftables::DELSETELEM, 0), &body);
        }
        for body in bodies(family, add.iter().map(|e| (e.map.as_str(), e)), write_element) {
            batch.push(&mut self.connection, (nftables::NEWSETELEM, flag::CREATE), &body);
        }
        batch.commit(&mut self.connection)
    }

    fn present<'a>(
        &mut self,
        family: TableFamily,
        elements: Vec<&'a NftElement>,
    ) -> Result<Vec<&'a NftElement>, KernelError> {
        let mut present = Vec::with_capacity(elements.len());
        for element in elements {
            let mut body = list_body(family, &element.map);
            body.nest(list::ELEMENTS, |w| write_key(w, element));
            match self.connection.query(nftables::GETSETELEM, &body.into_bytes(), |_| ()) {
                Ok(()) => present.push(element),
                Err(refusal) if refusal.is(libc::ENOENT) => {}
                Err(refusal) => return Err(refusal.about("get element of", &element.map)),
            }
        }
        Ok(present)
    }
}

/// Message bodies that name these elements: one or more for each set.
fn bodies<'a, T: 'a>(
    family: TableFamily,
    elements: impl Iterator<Item = (&'a str, &'a T)>,
    write: impl Fn(&mut Writer, &T) + Copy,
) -> Vec<Vec<u8>> {
    let mut by_set = BTreeMap::<&str, Vec<&T>>::new();
    for (set, element) in elements {
        by_set.entry(set).or_default().push(element);
    }
    let mut bodies = Vec::new();
    for (set, elements) in by_set {
        let mut rest = elements.as_slice();
        while !rest.is_empty() {
            let mut body = list_body(family, set);
            body.nest(list::ELEMENTS, |w| {
                let start = w.len();
                while let Some((element, behind)) = rest.split_first().filter(|_| w.len() - start < LIST_LIMIT) {
                    write(w, element);
                    rest = behind;
                }
            });
            bodies.push(body.into_bytes());
        }
    }
    bodies
}

/// Start of a message about a table.
pub(super) fn body(family: TableFamily) -> Writer {
    nfgen::body(match family {
        TableFamily::Inet => nfgen::INET,
        TableFamily::Netdev => nfgen::NETDEV,
    })
}

/// In the words of `nft`.
pub(super) fn table_name(family: TableFamily) -> String {
    let family = match family {
        TableFamily::Inet => "inet",
        TableFamily::Netdev => "netdev",
    };
    format!("{family} {}", ids::NFT_TABLE)
}

/// Start of a message about elements of a set.
pub(super) fn list_body(family: TableFamily, set: &str) -> Writer {
    let mut body = body(family);
    body.text(list::TABLE, ids::NFT_TABLE).text(list::SET, set);
    body
}

fn write_key(writer: &mut Writer, member: &NftElement) {
    writer.nest(list::ELEMENT, |w| key(w, member.key));
}

fn write_element(writer: &mut Writer, member: &NftElement) {
    writer.nest(list::ELEMENT, |w| {
        key(w, member.key);
        match &member.value {
            NftValue::Member => {}
            NftValue::Goto(chain) => data(w, |w| {
                w.nest(element::DATA_VERDICT, |w| {
                    w.be32(element::VERDICT_CODE, element::GOTO).text(element::VERDICT_CHAIN, chain);
                });
            }),
            NftValue::Address(address) => data(w, |w| {
                w.bytes(element::DATA_VALUE, &octets(*address));
            }),
            NftValue::Mac(mac) => data(w, |w| {
                w.bytes(element::DATA_VALUE, &mac.0);
            }),
        }
    });
}

fn data(writer: &mut Writer, write: impl FnOnce(&mut Writer)) {
    writer.nest(element::DATA, write);
}

/// Addresses are in network order, marks in host order: the order in which a rule loads them.
fn key(writer: &mut Writer, key: NftKey) {
    let bytes = match key {
        NftKey::Address(address) => octets(address),
        NftKey::Mark(mark) => mark.to_ne_bytes().to_vec(),
        NftKey::MarkAddress(mark, address) => [mark.to_ne_bytes().to_vec(), octets(address)].concat(),
    };
    writer.nest(element::KEY, |w| {
        w.bytes(element::DATA_VALUE, &bytes);
    });
}

fn write_tuple(writer: &mut Writer, tuple: &Tuple) {
    writer.nest(list::ELEMENT, |w| tuple_key(w, tuple));
}

/// A concatenation: each part fills whole words of 32 bits.
fn tuple_key(writer: &mut Writer, tuple: &Tuple) {
    let mut key = [octets(tuple.source), octets(tuple.destination)].concat();
    key.extend([tuple.protocol, 0, 0, 0]);
    for port in [tuple.source_port, tuple.destination_port] {
        key.extend(port.to_be_bytes());
        key.extend([0, 0]);
    }
    writer.nest(element::KEY, |w| {
        w.bytes(element::DATA_VALUE, &key);
    });
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn no_message_exceeds_what_an_attribute_can_hold() {
        let elements: Vec<_> = (0..10_000_u32)
            .map(|i| NftElement {
                map: if i % 2 == 0 { "sel6".into() } else { "inb6".into() },
                key: NftKey::Address(IpAddr::V6(u128::from(i).into())),
                value: NftValue::Goto("a_chain_with_a_rather_long_name".into()),
            })
            .collect();
        let bodies = bodies(TableFamily::Inet, elements.iter().map(|e| (e.map.as_str(), e)), write_element);
        assert!(bodies.len() > 10);
        assert!(bodies.iter().all(|body| body.len() < 65_535));
    }
}
