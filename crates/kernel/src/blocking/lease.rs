//! The permission to send with addresses that other nodes could own.
//!
//! Guarantees: it ends by itself, in the kernel, whatever becomes of this process; a renewal leaves no moment without
//! it. Leaves out: when to renew. The element's timeout is that of `linux/netfilter/nf_tables.h`, in milliseconds.

use std::time::Duration;

use nix::libc;
use sortie_core::nft::LEASE_SET;
use sortie_core::state::TableFamily;

use super::Elements;
use super::elements::{element, list, list_body};
use crate::KernelError;
use crate::netlink::Refusal;
use crate::netlink::attribute::Attributes;
use crate::netlink::message::flag;
use crate::netlink::nfgen::{self, Batch, nftables};

/// `NFTA_SET_ELEM_TIMEOUT`.
const TIMEOUT: u16 = 4;
/// `NFTA_SET_ELEM_EXPIRATION`.
const EXPIRATION: u16 = 5;
/// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
const PROTOCOLS: [u8; 2] = [2, 10];

impl Elements {
    /// Permits sending for this long from now, also if that is less than before; zero ends it now.
    ///
    /// # Errors
    /// What the kernel answers; `ENOENT` while our table is not there.
    pub fn renew_lease(&mut self, time: Duration) -> Result<(), KernelError> {
        let grant = (nftables::NEWSETELEM, flag::CREATE, members(time));
        let revoke = (nftables::DELSETELEM, 0, members(Duration::ZERO));
        let grant = (!time.is_zero()).then_some(grant);
        let outcome = match self.exchange([Some(revoke), grant.clone()]) {
            // Nothing to revoke: it ran out, or never was.
            Err(refusal) if refusal.is(libc::ENOENT) => self.exchange([None, grant]),
            other => other,
        };
        outcome.map_err(|refusal| refusal.about("renew", "the lease"))
    }

    /// How long sending is still permitted; zero when it is not.
    ///
    /// # Errors
    /// What the kernel answers; that our table is not there is none.
    pub fn lease_left(&mut self) -> Result<Duration, KernelError> {
        let found = self.connection.dump(
            nftables::GETSETELEM,
            &list_body(TableFamily::Inet, LEASE_SET).into_bytes(),
            |message| {
                let members = nfgen::attributes(message.body).nested(list::ELEMENTS)?;
                let left =
                    |member| Attributes::of(member).find(EXPIRATION)?.first_chunk().map(|b| u64::from_be_bytes(*b));
                members.filter_map(|(_, member)| left(member)).min()
            },
        );
        match found {
            Ok(found) => Ok(Duration::from_millis(found.into_iter().min().unwrap_or(0))),
            Err(refusal) if refusal.is(libc::ENOENT) => Ok(Duration::ZERO),
            Err(refusal) => Err(refusal.about("read", "the lease")),
        }
    }

    fn exchange(&mut self, messages: [Option<(u16, u16, Vec<u8>)>; 2]) -> Result<(), Refusal> {
        let mut batch = Batch::begin(&mut self.connection);
        for (kind, flags, body) in messages.into_iter().flatten() {
            batch.push(&mut self.connection, (kind, flags), &body);
        }
        batch.commit(&mut self.connection)
    }
}

/// Both members; without a time they are named only.
fn members(time: Duration) -> Vec<u8> {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut body = list_body(TableFamily::Inet, LEASE_SET);
    body.nest(list::ELEMENTS, |w| {
        for protocol in PROTOCOLS {
            w.nest(list::ELEMENT, |w| {
                w.nest(element::KEY, |w| {
                    w.bytes(element::DATA_VALUE, &[protocol]);
                });
                if milliseconds > 0 {
                    w.bytes(TIMEOUT, &milliseconds.to_be_bytes());
                }
            });
        }
    });
    body.into_bytes()
}
