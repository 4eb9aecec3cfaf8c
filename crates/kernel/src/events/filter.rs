//! Which notifications concern us.
//!
//! Guarantees: a message that cannot be read counts as concerning us. Leaves out: sockets.

use sortie_core::ids::{self, Numbers};

use crate::Event;
use crate::blocking::rule_of;
use crate::linux::{Own, is_claimed, table_and_protocol};
use crate::netlink::attribute::{Attributes, ne32};
use crate::netlink::message::Message;
use crate::netlink::nfgen::{self, nftables};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
/// Forwarding entries of bridges are announced in the link group.
const AF_BRIDGE: u8 = 7;
/// `RTPROT_KERNEL`: connected routes.
const PROTOCOL_KERNEL: u8 = 2;
const AF_INET6: u8 = 10;
/// Length of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;
const IFLA_IFNAME: u16 = 3;
/// Length of `struct ifaddrmsg`.
const ADDRESS_HEADER: usize = 8;
const IFA_ADDRESS: u16 = 1;
/// Length of `struct rtmsg`.
const ROUTE_HEADER: usize = 12;
const RTA_DST: u16 = 1;
/// Length of `struct fib_rule_hdr`.
const RULE_HEADER: usize = 12;
const FRA_PRIORITY: u16 = 6;
const FRA_PROTOCOL: u16 = 21;
/// Attribute 1 of every nftables message but the announcement of a generation is the table's name.
const NFT_TABLE: u16 = 1;

pub(super) struct Filter {
    own: Own,
    numbers: Numbers,
}

impl Filter {
    pub(super) fn new(own: Own, numbers: Numbers) -> Self {
        Self { own, numbers }
    }

    /// A message of the route family.
    pub(super) fn route(&self, message: &Message<'_>) -> Option<Event> {
        if self.own.contains(message.header.port) {
            return None;
        }
        match message.header.kind {
            RTM_NEWLINK | RTM_DELLINK => (message.body.first() != Some(&AF_BRIDGE)).then(|| link(message.body)),
            RTM_NEWADDR | RTM_DELADDR => Some(address(message.body)),
            RTM_NEWROUTE | RTM_DELROUTE => self.is_our_route(message.body).then_some(Event::Routes),
            RTM_NEWRULE => is_our_rule(message).then(|| rule_of(message.body).map_or(Event::Rules, Event::NewRule)),
            RTM_DELRULE => is_our_rule(message).then_some(Event::Rules),
            _ => None,
        }
    }

    /// A message of nftables. A generation is announced after all changes of its transaction.
    pub(super) fn nft(&self, message: &Message<'_>) -> Option<Event> {
        if message.header.kind == nftables::NEWGEN {
            self.own.forget_child(message.header.port);
            return None;
        }
        if self.own.contains(message.header.port) {
            return None;
        }
        let is_ours = matches!(message.body.first(), Some(&(nfgen::INET | nfgen::NETDEV)));
        let table = nfgen::attributes(message.body).text(NFT_TABLE);
        (is_ours && table.as_deref() == Some(ids::NFT_TABLE)).then_some(Event::Nft)
    }

    fn is_our_route(&self, body: &[u8]) -> bool {
        let Some((table, protocol)) = table_and_protocol(body) else { return true };
        is_claimed(table, &self.numbers)
            || protocol == ids::PROTOCOL
            || table == ids::TABLE_MAIN && protocol == PROTOCOL_KERNEL && !is_link_local(body)
    }
}

fn link(body: &[u8]) -> Event {
    let name = body.get(LINK_HEADER..).and_then(|rest| Attributes::of(rest).text(IFLA_IFNAME));
    index(body).map_or(Event::Overrun, |index| Event::Device { index, name })
}

/// Every device has a link-local one some time after it came up.
fn address(body: &[u8]) -> Event {
    let address = body.get(ADDRESS_HEADER..).and_then(|rest| Attributes::of(rest).find(IFA_ADDRESS));
    match (address, index(body)) {
        (Some([0xfe, 0x80..=0xbf, rest @ ..]), Some(index)) if rest.len() == 14 => Event::Device { index, name: None },
        _ => Event::Addresses,
    }
}

/// At the same place in `struct ifinfomsg` and `struct ifaddrmsg`.
fn index(body: &[u8]) -> Option<u32> {
    ne32(body.get(4..8)?)
}

/// A destination under fe80::/10, which no path of ours leads to; every device brings one, some time after it came up.
fn is_link_local(body: &[u8]) -> bool {
    let destination = body.get(ROUTE_HEADER..).and_then(|rest| Attributes::of(rest).find(RTA_DST));
    body.first() == Some(&AF_INET6) && matches!(destination, Some([0xfe, 0x80..=0xbf, ..]))
}

/// A rule with our protocol, or a deletion among our priorities whatever its protocol.
fn is_our_rule(message: &Message<'_>) -> bool {
    let Some(attributes) = message.body.get(RULE_HEADER..).map(Attributes::of) else { return true };
    if attributes.find(FRA_PROTOCOL) == Some(&[ids::PROTOCOL]) {
        return true;
    }
    let priority = attributes.find(FRA_PRIORITY).and_then(ne32).unwrap_or(0);
    let (first, last) = ids::PRIORITY_RANGE;
    message.header.kind == RTM_DELRULE && (first..=last).contains(&priority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attribute::Writer;
    use crate::netlink::message::Header;

    const OURS: u32 = 42;
    const FOREIGN: u32 = 43;

    fn filter() -> Filter {
        Filter::new(Own::of([OURS]), Numbers::default())
    }

    fn message(kind: u16, port: u32, body: &[u8]) -> Message<'_> {
        Message { header: Header { kind, flags: 0, sequence: 0, port }, body }
    }

    fn rule(priority: u32, protocol: u8) -> Vec<u8> {
        let mut writer = Writer::after(&[0; RULE_HEADER]);
        writer.bytes(FRA_PRIORITY, &priority.to_ne_bytes()).bytes(FRA_PROTOCOL, &[protocol]);
        writer.into_bytes()
    }

    fn route(table: u32, protocol: u8) -> Vec<u8> {
        let mut writer = Writer::after(&[2, 0, 0, 0, 0, protocol, 0, 1, 0, 0, 0, 0]);
        writer.bytes(15, &table.to_ne_bytes());
        writer.into_bytes()
    }

    fn element(table: &str) -> Vec<u8> {
        element_of(nfgen::INET, table)
    }

    fn element_of(family: u8, table: &str) -> Vec<u8> {
        let mut writer = nfgen::body(family);
        writer.text(NFT_TABLE, table);
        writer.into_bytes()
    }

    #[test]
    fn foreign_rules_matter_only_when_they_go_from_our_priorities() {
        let seen = |kind, body: &[u8]| filter().route(&message(kind, FOREIGN, body));
        assert_eq!(seen(RTM_DELRULE, &rule(1300, 4)), Some(Event::Rules));
        assert_eq!(seen(RTM_NEWRULE, &rule(1300, 4)), None);
        assert_eq!(seen(RTM_DELRULE, &rule(32_766, 2)), None);
        assert_eq!(seen(RTM_NEWRULE, &rule(9, ids::PROTOCOL)), Some(Event::Rules));
    }

    #[test]
    fn routes_matter_in_our_tables_and_when_connected() {
        let seen = |body: &[u8]| filter().route(&message(RTM_NEWROUTE, FOREIGN, body));
        assert_eq!(seen(&route(10_500, 4)), Some(Event::Routes));
        assert_eq!(seen(&route(ids::TABLE_NONE, ids::PROTOCOL)), Some(Event::Routes));
        assert_eq!(seen(&route(ids::TABLE_MAIN, PROTOCOL_KERNEL)), Some(Event::Routes));
        assert_eq!(seen(&route(ids::TABLE_MAIN, 186)), None);
        assert_eq!(seen(&route(9_999, 4)), None);
    }

    #[test]
    fn the_link_local_network_of_a_device_does_not_concern_us() {
        let connected = |network: &[u8]| {
            let mut writer = Writer::after(&[AF_INET6, 64, 0, 0, 254, PROTOCOL_KERNEL, 0, 1, 0, 0, 0, 0]);
            writer.bytes(RTA_DST, network);
            writer.into_bytes()
        };
        let seen = |body: &[u8]| filter().route(&message(RTM_NEWROUTE, FOREIGN, body));
        assert_eq!(seen(&connected(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])), None);
        assert_eq!(seen(&connected(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])), Some(Event::Routes));
    }

    #[test]
    fn a_device_is_told_with_its_name_or_by_its_link_local_address() {
        let seen = |kind, body: &[u8]| filter().route(&message(kind, FOREIGN, body)).unwrap();
        let device = |name: Option<&str>| Event::Device { index: 7, name: name.map(str::to_owned) };
        let mut link = Writer::after(&[[0; 4], 7_u32.to_ne_bytes(), [0; 4], [0; 4]].concat());
        link.text(IFLA_IFNAME, "veth1");
        assert_eq!(seen(RTM_NEWLINK, &link.into_bytes()), device(Some("veth1")));
        let with = |address: &[u8]| {
            let mut writer = Writer::after(&[[0; 4], 7_u32.to_ne_bytes()].concat());
            writer.bytes(IFA_ADDRESS, address);
            writer.into_bytes()
        };
        assert_eq!(seen(RTM_NEWADDR, &with(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])), device(None));
        assert_eq!(seen(RTM_NEWADDR, &with(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])), Event::Addresses);
        assert_eq!(seen(RTM_DELADDR, &with(&[0xfe, 0x80, 0, 1])), Event::Addresses);
        assert_eq!(seen(RTM_NEWLINK, &[0; 2]), Event::Overrun);
    }

    #[test]
    fn our_own_changes_are_silent() {
        assert_eq!(filter().route(&message(RTM_DELRULE, OURS, &rule(1300, ids::PROTOCOL))), None);
        assert_eq!(filter().nft(&message(nftables::NEWSETELEM, OURS, &element("sortie"))), None);
        assert_eq!(filter().nft(&message(nftables::NEWSETELEM, FOREIGN, &element("sortie"))), Some(Event::Nft));
        assert_eq!(filter().nft(&message(nftables::NEWSETELEM, FOREIGN, &element("other"))), None);
    }

    #[test]
    fn both_our_tables_matter() {
        let seen = |family| filter().nft(&message(nftables::NEWSETELEM, FOREIGN, &element_of(family, "sortie")));
        assert_eq!([nfgen::INET, nfgen::NETDEV].map(seen), [Some(Event::Nft), Some(Event::Nft)]);
        assert_eq!(seen(2), None);
    }

    #[test]
    fn a_child_is_ours_until_its_generation_is_announced() {
        let filter = filter();
        filter.own.add_child(FOREIGN);
        assert_eq!(filter.nft(&message(nftables::NEWSETELEM, FOREIGN, &element("sortie"))), None);
        assert_eq!(filter.nft(&message(nftables::NEWGEN, FOREIGN, &[0; 4])), None);
        assert_eq!(filter.nft(&message(nftables::NEWSETELEM, FOREIGN, &element("sortie"))), Some(Event::Nft));
    }
}
