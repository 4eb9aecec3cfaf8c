//! Routes with our protocol number.
//!
//! Guarantees: only routes with [`ids::PROTOCOL`] are listed or removed; creating replaces what has the same
//! table, destination and metric; removing takes exactly the route of that table, destination and metric.
//! Leaves out: routes of ours in a shape [`Route`] cannot express, which are not listed.

use std::collections::BTreeSet;

use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_route::route::RouteMessage;
use nix::libc;
use sortie_core::ids::{self, Numbers};
use sortie_core::model::Family;
use sortie_core::state::Route;

use super::links::Names;
use crate::KernelError;
use crate::netlink::attribute::{Attributes, ne32};
use crate::netlink::message::flag;
use crate::netlink::{Connection, Refusal};

mod shape;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
/// Length of `struct rtmsg`.
const HEADER: usize = 12;
const RTA_TABLE: u16 = 15;

/// The routes of the network namespace it was opened in.
pub(super) struct Routes {
    connection: Connection,
}

impl Routes {
    pub(super) fn open() -> Result<Self, KernelError> {
        Ok(Self { connection: Connection::route()? })
    }

    pub(super) fn port(&self) -> u32 {
        self.connection.port()
    }

    pub(super) fn ensure(&mut self, route: &Route, names: &Names) -> Result<(), KernelError> {
        let message = shape::encode(route, names).map_err(|device| KernelError::Netlink {
            operation: "add route",
            object: format!("{} (no device {device})", shape::describe(route)),
            source: std::io::Error::from_raw_os_error(libc::ENODEV),
        })?;
        self.connection
            .request(RTM_NEWROUTE, flag::CREATE | flag::REPLACE, &emit(&message))
            .map_err(|refusal| refusal.about("add route", shape::describe(route)))
    }

    /// The kernel reads metric 0 as "any" (IPv4), so it is looked up first.
    pub(super) fn remove(&mut self, route: &Route) -> Result<(), KernelError> {
        let refused = |refusal: Refusal| refusal.about("delete route", shape::describe(route));
        let family = Family::of_network(route.destination);
        let present =
            match self.dump(&shape::filter(family, Some(route.table)), |m| shape::is_at(route, m).then_some(())) {
                Err(refusal) if refusal.is(libc::ENOENT) => return Ok(()),
                other => other.map_err(refused)?,
            };
        if present.is_empty() {
            return Ok(());
        }
        match self.connection.request(RTM_DELROUTE, 0, &emit(&shape::deletion(route))) {
            Err(refusal) if refusal.is(libc::ESRCH) => Ok(()),
            other => other.map_err(refused),
        }
    }

    pub(super) fn list(&mut self, names: &Names) -> Result<BTreeSet<Route>, KernelError> {
        let mut routes = BTreeSet::new();
        for family in Family::ALL {
            let found = self.dump(&shape::filter(family, None), |message| shape::decode(message, names));
            routes.extend(found.map_err(|refusal| refusal.about("list", "routes"))?);
        }
        Ok(routes)
    }

    /// Tables among those we claim that hold routes which are not ours.
    pub(super) fn foreign_tables(&mut self, numbers: &Numbers) -> Result<BTreeSet<u32>, KernelError> {
        let mut tables = BTreeSet::new();
        for family in Family::ALL {
            let found = self.dump_all(&shape::unfiltered(family), |body| {
                let (table, protocol) = table_and_protocol(body)?;
                (protocol != ids::PROTOCOL && is_claimed(table, numbers)).then_some(table)
            });
            tables.extend(found.map_err(|refusal| refusal.about("list", "routes"))?);
        }
        Ok(tables)
    }

    fn dump<T>(&mut self, filter: &RouteMessage, each: impl Fn(&RouteMessage) -> Option<T>) -> Result<Vec<T>, Refusal> {
        self.dump_all(filter, |body| {
            let (_, protocol) = table_and_protocol(body)?;
            (protocol == ids::PROTOCOL).then(|| RouteMessage::parse(body).ok()).flatten().as_ref().and_then(&each)
        })
    }

    /// Routes of any protocol, undecoded.
    fn dump_all<T>(&mut self, filter: &RouteMessage, each: impl Fn(&[u8]) -> Option<T>) -> Result<Vec<T>, Refusal> {
        let found = self.connection.dump(RTM_GETROUTE, &emit(filter), |answer| {
            (answer.header.kind == RTM_NEWROUTE).then(|| each(answer.body)).flatten()
        });
        match found {
            Err(refusal) if refusal.is_missing_family() => Ok(Vec::new()),
            other => other,
        }
    }
}

/// Whether the table is a route's or reserved.
pub(crate) fn is_claimed(table: u32, numbers: &Numbers) -> bool {
    let within = |(first, last): (u32, u32)| (first..=last).contains(&table);
    within(numbers.tables) || within(ids::TABLE_RESERVED)
}

/// Of any route message, also of routes we could not decode.
pub(crate) fn table_and_protocol(body: &[u8]) -> Option<(u32, u8)> {
    let header = body.first_chunk::<HEADER>()?;
    let table = Attributes::of(&body[HEADER..]).find(RTA_TABLE).and_then(ne32);
    Some((table.unwrap_or(header[4].into()), header[5]))
}

fn emit(message: &RouteMessage) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}
