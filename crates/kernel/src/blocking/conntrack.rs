//! Connection-tracking entries.
//!
//! Guarantees: an entry is deleted only by its own tuple and id; a request without a tuple, which would
//! empty the whole table, cannot be built. Leaves out: what its entries mean. The messages follow
//! `linux/netfilter/nfnetlink_conntrack.h`.

use nix::libc;
use sortie_core::state::{ConntrackEntry, ConntrackFilter, Tuple};

use crate::KernelError;
use crate::netlink::Connection;
use crate::netlink::attribute::Attributes;
use crate::netlink::message::Message;
use crate::netlink::nfgen::{self, conntrack};

mod replicate;
pub(crate) mod wire;

pub use replicate::Loaded;

use wire::{MARK as CTA_MARK, TUPLE_ORIGINAL as CTA_TUPLE_ORIG, TUPLE_REPLY as CTA_TUPLE_REPLY, tuple_of};

const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const NESTED: u16 = 0x8000;

/// Listings of the table in one deletion.
const PASSES: usize = 4;

/// The connection-tracking table of the network namespace it was opened in.
pub struct Conntrack {
    connection: Connection,
}

impl Conntrack {
    /// Opens the socket.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self { connection: Connection::netfilter()? })
    }

    /// Deletes the entries that any filter takes and returns how many went. Entries that go by
    /// themselves meanwhile are not counted and no error.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn delete(&mut self, filters: &[ConntrackFilter]) -> Result<usize, KernelError> {
        self.delete_with(filters, |_| Ok(()))
    }

    /// The same, and before entries go `hold_back` learns what answers to them look like. A packet on its way
    /// through the node may bring an entry back, or one may be missed by the listing: looks again until
    /// nothing is found.
    ///
    /// # Errors
    /// What the kernel or `hold_back` answers.
    pub fn delete_with(
        &mut self,
        filters: &[ConntrackFilter],
        mut hold_back: impl FnMut(&[Tuple]) -> Result<(), KernelError>,
    ) -> Result<usize, KernelError> {
        let mut deleted = 0;
        for _ in 0..PASSES {
            let entries = if filters.is_empty() { Vec::new() } else { self.dump(filters)? };
            if entries.is_empty() {
                break;
            }
            hold_back(&entries.iter().filter_map(|entry| entry.answer).collect::<Vec<_>>())?;
            deleted += self.delete_all(entries)?;
        }
        Ok(deleted)
    }

    /// The flows that a filter takes.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn find(&mut self, filter: &ConntrackFilter) -> Result<Vec<ConntrackEntry>, KernelError> {
        Ok(self.dump(std::slice::from_ref(filter))?.into_iter().map(|entry| entry.flow).collect())
    }

    fn delete_all(&mut self, entries: Vec<Entry>) -> Result<usize, KernelError> {
        let mut deleted = 0;
        for entry in entries {
            match self.connection.request(conntrack::DELETE, 0, &entry.deletion()) {
                Ok(()) => deleted += 1,
                Err(refusal) if refusal.is(libc::ENOENT) => {}
                Err(refusal) => {
                    return Err(refusal.about("delete conntrack entry", format!("{:?}", entry.flow)));
                }
            }
        }
        Ok(deleted)
    }

    fn dump(&mut self, filters: &[ConntrackFilter]) -> Result<Vec<Entry>, KernelError> {
        self.connection
            .dump(conntrack::GET, &nfgen::header(nfgen::UNSPEC, 0), |message| {
                let mut entry = Entry::read(&message)?;
                let filter = filters.iter().find(|filter| filter.selects(&entry.flow))?;
                entry.answer = filter.answer(&entry.flow);
                Some(entry)
            })
            .map_err(|refusal| refusal.about("list", "conntrack entries"))
    }
}

/// What identifies an entry, and what filters look at.
struct Entry {
    family: u8,
    /// Nested attributes of the original direction's tuple as the kernel wrote them; never empty.
    tuple: Vec<u8>,
    id: u32,
    zone: Option<Vec<u8>>,
    /// What may still come.
    answer: Option<Tuple>,
    flow: ConntrackEntry,
}

impl Entry {
    fn read(message: &Message<'_>) -> Option<Self> {
        if message.header.kind != conntrack::NEW {
            return None;
        }
        let attributes = nfgen::attributes(message.body);
        let tuple = attributes.find(CTA_TUPLE_ORIG).filter(|tuple| !tuple.is_empty())?;
        Some(Self {
            family: *message.body.first()?,
            tuple: tuple.to_vec(),
            id: attributes.be32(CTA_ID)?,
            zone: attributes.find(CTA_ZONE).map(<[u8]>::to_vec),
            answer: None,
            flow: ConntrackEntry {
                original: tuple_of(Attributes::of(tuple))?,
                reply: tuple_of(attributes.nested(CTA_TUPLE_REPLY)?)?,
                mark: attributes.be32(CTA_MARK).unwrap_or(0),
            },
        })
    }

    fn deletion(&self) -> Vec<u8> {
        let mut body = nfgen::body(self.family);
        body.bytes(CTA_TUPLE_ORIG | NESTED, &self.tuple).be32(CTA_ID, self.id);
        if let Some(zone) = &self.zone {
            body.bytes(CTA_ZONE, zone);
        }
        body.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attribute::Writer;
    use crate::netlink::message::Header;

    fn tuple(writer: &mut Writer, (source, destination): ([u8; 4], [u8; 4])) {
        writer.nest(1, |w| {
            w.bytes(1, &source).bytes(2, &destination);
        });
        writer.nest(2, |w| {
            w.bytes(1, &[17]).bytes(2, &[0, 53]).bytes(3, &[1, 0]);
        });
    }

    fn body(tuples: &[u16]) -> Vec<u8> {
        let mut writer = nfgen::body(2);
        for kind in tuples {
            writer.nest(*kind, |w| tuple(w, ([10, 0, 0, 1], [192, 0, 2, 1])));
        }
        writer.be32(CTA_MARK, 0x100).be32(CTA_ID, 7);
        writer.into_bytes()
    }

    fn read(body: &[u8]) -> Option<Entry> {
        Entry::read(&Message { header: Header { kind: conntrack::NEW, flags: 0, sequence: 0, port: 0 }, body })
    }

    #[test]
    fn a_deletion_always_names_the_tuple_it_was_shown() {
        let entry = read(&body(&[CTA_TUPLE_ORIG, CTA_TUPLE_REPLY])).unwrap();
        assert_eq!((entry.flow.mark, entry.flow.original.source_port), (0x100, 53));
        assert_eq!(nfgen::attributes(&entry.deletion()).find(CTA_TUPLE_ORIG), Some(entry.tuple.as_slice()));
    }

    #[test]
    fn an_entry_without_a_tuple_is_not_read() {
        assert!(read(&body(&[CTA_TUPLE_REPLY])).is_none());
    }
}
