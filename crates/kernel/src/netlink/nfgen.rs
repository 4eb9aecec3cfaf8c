//! The netfilter part of netlink: message types, the header they share and batches (`linux/netfilter/nfnetlink.h`).
//!
//! Guarantees: a batch is one transaction: it happens as a whole or not at all. Leaves out: attributes.

use super::Connection;
use super::attribute::Writer;
use super::message::{self, Header, flag};

/// `NFPROTO_INET`, `NFPROTO_NETDEV`, `NFPROTO_UNSPEC`.
pub(crate) const INET: u8 = 1;
pub(crate) const NETDEV: u8 = 5;
pub(crate) const UNSPEC: u8 = 0;

/// `NFNL_SUBSYS_NFTABLES` and its messages (`linux/netfilter/nf_tables.h`).
pub(crate) mod nftables {
    const SUBSYSTEM: u16 = 10;
    pub(crate) const GETTABLE: u16 = SUBSYSTEM << 8 | 1;
    pub(crate) const NEWCHAIN: u16 = SUBSYSTEM << 8 | 3;
    pub(crate) const GETCHAIN: u16 = SUBSYSTEM << 8 | 4;
    pub(crate) const NEWRULE: u16 = SUBSYSTEM << 8 | 6;
    pub(crate) const GETRULE: u16 = SUBSYSTEM << 8 | 7;
    pub(crate) const NEWSET: u16 = SUBSYSTEM << 8 | 9;
    pub(crate) const GETSET: u16 = SUBSYSTEM << 8 | 10;
    pub(crate) const NEWSETELEM: u16 = SUBSYSTEM << 8 | 12;
    pub(crate) const GETSETELEM: u16 = SUBSYSTEM << 8 | 13;
    pub(crate) const DELSETELEM: u16 = SUBSYSTEM << 8 | 14;
    #[cfg(feature = "async")]
    pub(crate) const NEWGEN: u16 = SUBSYSTEM << 8 | 15;
    pub(crate) const NEWOBJ: u16 = SUBSYSTEM << 8 | 18;
    pub(crate) const GETOBJ: u16 = SUBSYSTEM << 8 | 19;
    pub(super) const ID: u16 = SUBSYSTEM;
}

/// `NFNL_SUBSYS_CTNETLINK` and its messages (`linux/netfilter/nfnetlink_conntrack.h`).
pub(crate) mod conntrack {
    const SUBSYSTEM: u16 = 1;
    pub(crate) const NEW: u16 = SUBSYSTEM << 8;
    pub(crate) const GET: u16 = SUBSYSTEM << 8 | 1;
    pub(crate) const DELETE: u16 = SUBSYSTEM << 8 | 2;
}

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// Length of `struct nfgenmsg`.
pub(crate) const HEADER: usize = 4;

/// `struct nfgenmsg`: family, version 0, resource.
pub(crate) fn header(family: u8, resource: u16) -> [u8; HEADER] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// Attributes after `struct nfgenmsg`.
pub(crate) fn attributes(body: &[u8]) -> super::attribute::Attributes<'_> {
    super::attribute::Attributes::of(body.get(HEADER..).unwrap_or_default())
}

/// A body that starts with `struct nfgenmsg`.
pub(crate) fn body(family: u8) -> Writer {
    Writer::after(&header(family, 0))
}

/// An nftables transaction being written.
pub(crate) struct Batch {
    datagram: Vec<u8>,
    begin: u32,
    sequences: Vec<u32>,
}

impl Batch {
    /// Begins.
    pub(crate) fn begin(connection: &mut Connection) -> Self {
        let begin = connection.next_sequence();
        let mut datagram = Vec::new();
        let head = Header { kind: BATCH_BEGIN, flags: flag::REQUEST, sequence: begin, port: 0 };
        message::append(&mut datagram, head, &header(UNSPEC, nftables::ID));
        Self { datagram, begin, sequences: Vec::new() }
    }

    /// Adds a change.
    pub(crate) fn push(&mut self, connection: &mut Connection, (kind, flags): (u16, u16), body: &[u8]) {
        let sequence = connection.next_sequence();
        let head = Header { kind, flags: flags | flag::REQUEST | flag::ACK, sequence, port: 0 };
        message::append(&mut self.datagram, head, body);
        self.sequences.push(sequence);
    }

    /// Commits and waits until every change was answered; the first refusal is returned.
    pub(crate) fn commit(mut self, connection: &mut Connection) -> Result<(), super::Refusal> {
        let end = Header { kind: BATCH_END, flags: flag::REQUEST, sequence: connection.next_sequence(), port: 0 };
        message::append(&mut self.datagram, end, &header(UNSPEC, nftables::ID));
        connection.send_datagram(&self.datagram)?;
        let mut refusal = None;
        let mut aborted = false;
        while !self.sequences.is_empty() && !aborted {
            connection.receive(|answer| {
                if answer.header.kind != message::ERROR {
                    return;
                }
                // Only a batch that is refused as a whole is answered under the number of its beginning.
                let whole = answer.header.sequence == self.begin;
                if !whole && !self.sequences.contains(&answer.header.sequence) {
                    return;
                }
                aborted |= whole;
                self.sequences.retain(|s| *s != answer.header.sequence);
                if let (Err(new), None) = (super::result_of(&answer), &refusal) {
                    refusal = Some(new);
                }
            })?;
        }
        refusal.map_or(Ok(()), Err)
    }
}
