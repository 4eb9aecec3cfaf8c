//! Whole connections: listing and loading.
//!
//! Guarantees: an entry that cannot be loaded does not keep others from it; one that is there already stays as it is,
//! unless the loaded one displaces it. Leaves out: which entries do, and what their marks mean.

use nix::libc;
use sortie_core::ids::Mask;
use sortie_core::replica::Tracked;
use sortie_core::state::Tuple;

use super::wire::{self, MARK, MARK_MASK};
use super::{Conntrack, Entry};
use crate::KernelError;
use crate::netlink::attribute::Writer;
use crate::netlink::message::{self, ERROR, Header, flag};
use crate::netlink::nfgen::{self, conntrack};
use crate::netlink::{Refusal, result_of};

/// Entries in one datagram: their refusals fit in the receive buffer.
const BATCH: usize = 256;
/// So many values of the mark are listed one by one; more make the kernel show every entry.
const LISTINGS: usize = 8;

/// What became of entries.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Created.
    pub created: usize,
    /// Entries that gave way to them.
    pub displaced: usize,
    /// There already: a packet was faster, or they were loaded before.
    pub present: usize,
    /// Not created.
    pub refused: usize,
    /// Why the first of them was not.
    pub error: Option<KernelError>,
}

impl Conntrack {
    /// The entries whose mark under `mask` is one of `values`.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn tracked(&mut self, values: &[u32], mask: u32) -> Result<Vec<Tracked>, KernelError> {
        if values.len() > LISTINGS {
            let all = self.listed(0, 0)?;
            return Ok(all.into_iter().filter(|tracked| values.contains(&(tracked.mark & mask))).collect());
        }
        let mut found = Vec::new();
        for value in values {
            found.append(&mut self.listed(*value, mask)?);
        }
        Ok(found)
    }

    fn listed(&mut self, value: u32, mask: u32) -> Result<Vec<Tracked>, KernelError> {
        let mut body = Writer::after(&nfgen::header(nfgen::UNSPEC, 0));
        body.be32(MARK, value).be32(MARK_MASK, mask);
        let read = |message: message::Message<'_>| match message.header.kind {
            conntrack::NEW => wire::read(message.body).filter(|tracked| tracked.mark & mask == value),
            _ => None,
        };
        let listed = self.connection.dump(conntrack::GET, &body.into_bytes(), read);
        listed.map_err(|refusal| refusal.about("list", "conntrack entries"))
    }

    /// Creates entries with their translations and marks, many in one system call; `path` are the bits of the mark that
    /// hold the path.
    ///
    /// # Errors
    /// When the socket fails; refusals of the kernel are in the result.
    pub fn load(&mut self, entries: &[Tracked], path: Mask) -> Result<Loaded, KernelError> {
        let mut loaded = Loaded::default();
        let present = self.load_all(entries, &mut loaded)?;
        let mut cleared = Vec::new();
        for entry in present {
            let displaced = self.displace(&entry, path)?;
            loaded.displaced += displaced;
            if displaced > 0 { cleared.push(entry) } else { loaded.present += 1 }
        }
        loaded.present += self.load_all(&cleared, &mut loaded)?.len();
        Ok(loaded)
    }

    /// Returns those that are there already.
    fn load_all(&mut self, entries: &[Tracked], loaded: &mut Loaded) -> Result<Vec<Tracked>, KernelError> {
        let mut present = Vec::new();
        for batch in entries.chunks(BATCH) {
            let there = self.load_batch(batch, loaded);
            present.extend(there.map_err(|refusal| refusal.about("load", "conntrack entries"))?);
        }
        Ok(present)
    }

    /// Deletes what has one of the entry's tuples and is to go for it; returns how many that were.
    fn displace(&mut self, entry: &Tracked, path: Mask) -> Result<usize, KernelError> {
        let mut displaced = 0;
        for tuple in [&entry.flow.original, &entry.flow.reply] {
            let present = self.with_tuple(tuple)?.filter(|present| entry.displaces(&present.flow, path));
            displaced += self.delete_all(present.into_iter().collect())?;
        }
        Ok(displaced)
    }

    fn with_tuple(&mut self, tuple: &Tuple) -> Result<Option<Entry>, KernelError> {
        let mut found = None;
        let read = |message: message::Message<'_>| found = found.take().or_else(|| Entry::read(&message));
        match self.connection.query(conntrack::GET, &wire::ask(tuple), read) {
            Ok(()) => Ok(found),
            Err(refusal) if refusal.is(libc::ENOENT) => Ok(None),
            Err(refusal) => Err(refusal.about("look up conntrack entry", format!("{tuple:?}"))),
        }
    }

    /// The kernel answers refused requests, and the last one in any case. Returns those that are there already.
    fn load_batch(&mut self, batch: &[Tracked], loaded: &mut Loaded) -> Result<Vec<Tracked>, Refusal> {
        let mut datagram = Vec::new();
        let mut sequences = Vec::with_capacity(batch.len());
        for (at, entry) in batch.iter().enumerate() {
            let last = if at + 1 == batch.len() { flag::ACK } else { 0 };
            let flags = flag::REQUEST | flag::CREATE | flag::EXCL | last;
            let header = Header { kind: conntrack::NEW, flags, sequence: self.connection.next_sequence(), port: 0 };
            sequences.push(header.sequence);
            message::append(&mut datagram, header, &wire::write(entry));
        }
        self.connection.send_datagram(&datagram)?;
        let (mut is_done, mut refusals, mut present) = (false, 0, Vec::new());
        while !is_done {
            self.connection.receive(|answer| {
                let place = sequences.iter().position(|sequence| *sequence == answer.header.sequence);
                let (ERROR, Some(place)) = (answer.header.kind, place) else { return };
                is_done |= place + 1 == batch.len();
                let Err(refusal) = result_of(&answer) else { return };
                refusals += 1;
                if refusal.is(libc::EEXIST) {
                    present.push(batch[place]);
                } else {
                    loaded.refuse(refusal, &batch[place]);
                }
            })?;
        }
        loaded.created += batch.len() - refusals;
        Ok(present)
    }
}

impl Loaded {
    fn refuse(&mut self, refusal: Refusal, entry: &Tracked) {
        self.refused += 1;
        self.error.get_or_insert_with(|| refusal.about("load conntrack entry", format!("{:?}", entry.flow)));
    }
}
