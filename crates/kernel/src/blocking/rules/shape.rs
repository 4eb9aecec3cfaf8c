//! Our [`Rule`] as a netlink message and back.
//!
//! Guarantees: `decode(encode(rule)) == rule`; a message with anything a [`Rule`] cannot express, or with
//! another protocol, is not decoded. Leaves out: sockets.

use std::fmt::Write as _;

use ipnetwork::IpNetwork;
use netlink_packet_core::Nla as _;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange};
use netlink_packet_route::{AddressFamily, IpProtocol};
use sortie_core::doctor::ForeignRule;
use sortie_core::ids;
use sortie_core::model::{DeviceName, Family, PortRange, Protocol};
use sortie_core::state::Rule;

/// `FRA_SPORT_MASK` and `FRA_DPORT_MASK`, which newer kernels report beside every port match.
const PORT_MASKS: [u16; 2] = [28, 29];

pub(super) fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// The full tuple with our protocol: the only form in which a rule is ever added or removed.
pub(super) fn encode(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = address_family(rule.family);
    message.header.action = RuleAction::ToTable;
    message.header.src_len = rule.from.map_or(0, |network| network.prefix());
    message.header.dst_len = rule.to.map_or(0, |network| network.prefix());
    let marks = rule.fwmark.map(|(value, mask)| [RuleAttribute::FwMark(value), RuleAttribute::FwMask(mask)]);
    message.attributes = [
        Some(RuleAttribute::Protocol(RouteProtocol::from(ids::PROTOCOL))),
        Some(RuleAttribute::Priority(rule.priority)),
        Some(RuleAttribute::Table(rule.table)),
        rule.iif.as_ref().map(|device| RuleAttribute::Iifname(device.0.clone())),
        rule.from.filter(|n| n.prefix() > 0).map(|n| RuleAttribute::Source(n.ip())),
        rule.to.filter(|n| n.prefix() > 0).map(|n| RuleAttribute::Destination(n.ip())),
        rule.protocol.map(|p| RuleAttribute::IpProtocol(IpProtocol::from(p.number()))),
        rule.source_ports.map(|p| RuleAttribute::SourcePortRange(port_range(p))),
        rule.destination_ports.map(|p| RuleAttribute::DestinationPortRange(port_range(p))),
    ]
    .into_iter()
    .flatten()
    .chain(marks.into_iter().flatten())
    .collect();
    message
}

/// Our rule in a message, if it is one.
pub(super) fn decode(message: &RuleMessage) -> Option<Rule> {
    let header = &message.header;
    // A rule whose device is absent waits for it.
    let is_plain = header.flags.difference(RuleFlags::IifDetached).is_empty();
    if header.action != RuleAction::ToTable || header.tos != 0 || !is_plain {
        return None;
    }
    let family = match header.family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    let mut found = Found::default();
    for attribute in &message.attributes {
        found.take(attribute)?;
    }
    if found.protocol_number != Some(ids::PROTOCOL) {
        return None;
    }
    Some(Rule {
        family,
        priority: found.priority.unwrap_or(0),
        iif: found.iif,
        from: network(found.from, header.src_len)?,
        to: network(found.to, header.dst_len)?,
        protocol: found.protocol,
        source_ports: found.source_ports,
        destination_ports: found.destination_ports,
        fwmark: found.mask.map(|mask| (found.mark.unwrap_or(0), mask)),
        table: found.table.unwrap_or_else(|| header.table.into()),
    })
}

/// A rule of somebody else.
pub(super) fn foreign(message: &RuleMessage, family: Family) -> Option<ForeignRule> {
    let header = &message.header;
    let mut rule = ForeignRule { family, priority: 0, table: header.table.into(), is_for_all: true };
    let narrows = |attribute: &RuleAttribute| {
        !matches!(
            attribute,
            RuleAttribute::Protocol(_)
                | RuleAttribute::Priority(_)
                | RuleAttribute::Table(_)
                | RuleAttribute::SuppressPrefixLen(u32::MAX)
                | RuleAttribute::SuppressIfGroup(u32::MAX)
        )
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Protocol(p) if u8::from(*p) == ids::PROTOCOL => return None,
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = *table,
            _ => {}
        }
    }
    if header.action != RuleAction::ToTable {
        rule.table = 0;
    }
    let is_plain = header.flags.is_empty() && header.tos == 0 && header.src_len == 0 && header.dst_len == 0;
    rule.is_for_all = is_plain && !message.attributes.iter().any(narrows);
    Some(rule)
}

/// Whether a deletion request for `asked` would take `present`: what the request lacks, it does not compare
/// (`fib_nl_delrule` and `fib4_rule_compare` in the kernel).
pub(super) fn deletion_takes(asked: &Rule, present: &Rule) -> bool {
    fn fits<T: PartialEq>(asked: Option<T>, present: Option<T>) -> bool {
        asked.is_none() || asked == present
    }
    asked.family == present.family
        && asked.priority == present.priority
        && asked.table == present.table
        && fits(asked.iif.as_ref(), present.iif.as_ref())
        && fits(asked.from, present.from)
        && fits(asked.to, present.to)
        && fits(asked.protocol, present.protocol)
        && fits(asked.source_ports, present.source_ports)
        && fits(asked.destination_ports, present.destination_ports)
        && fits(asked.fwmark, present.fwmark)
}

/// The rule in iproute2 words.
pub(super) fn describe(rule: &Rule) -> String {
    let mut text = format!("{}:", rule.priority);
    let mut add = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(text, " {word} {value}");
        }
    };
    let ports = |range: PortRange| format!("{}-{}", range.first, range.last);
    add("from", Some(rule.from.map_or_else(|| "all".into(), |n| n.to_string())));
    add("to", rule.to.map(|n| n.to_string()));
    add("fwmark", rule.fwmark.map(|(value, mask)| format!("{value:#x}/{mask:#x}")));
    add("iif", rule.iif.as_ref().map(ToString::to_string));
    add("ipproto", rule.protocol.map(|p| p.name().into()));
    add("sport", rule.source_ports.map(ports));
    add("dport", rule.destination_ports.map(ports));
    add("lookup", Some(rule.table.to_string()));
    text
}

fn port_range(ports: PortRange) -> RulePortRange {
    RulePortRange { start: ports.first, end: ports.last }
}

fn network(address: Option<std::net::IpAddr>, prefix: u8) -> Option<Option<IpNetwork>> {
    match address {
        Some(address) => IpNetwork::new(address, prefix).ok().map(Some),
        None => Some(None),
    }
}

#[derive(Default)]
struct Found {
    protocol_number: Option<u8>,
    priority: Option<u32>,
    table: Option<u32>,
    iif: Option<DeviceName>,
    from: Option<std::net::IpAddr>,
    to: Option<std::net::IpAddr>,
    protocol: Option<Protocol>,
    source_ports: Option<PortRange>,
    destination_ports: Option<PortRange>,
    mark: Option<u32>,
    mask: Option<u32>,
}

impl Found {
    /// `None` for an attribute that a [`Rule`] cannot express.
    fn take(&mut self, attribute: &RuleAttribute) -> Option<()> {
        let ports = |range: &RulePortRange| PortRange { first: range.start, last: range.end };
        match attribute {
            RuleAttribute::Protocol(p) => self.protocol_number = Some(u8::from(*p)),
            RuleAttribute::Priority(v) => self.priority = Some(*v),
            RuleAttribute::Table(v) => self.table = Some(*v),
            RuleAttribute::Iifname(name) => self.iif = Some(DeviceName(name.clone())),
            RuleAttribute::Source(a) => self.from = Some(*a),
            RuleAttribute::Destination(a) => self.to = Some(*a),
            RuleAttribute::IpProtocol(p) => self.protocol = Some(transport(u8::from(*p))?),
            RuleAttribute::SourcePortRange(r) => self.source_ports = Some(ports(r)),
            RuleAttribute::DestinationPortRange(r) => self.destination_ports = Some(ports(r)),
            RuleAttribute::FwMark(v) => self.mark = Some(*v),
            RuleAttribute::FwMask(v) => self.mask = Some(*v),
            // Always reported; all ones = not set.
            RuleAttribute::SuppressPrefixLen(u32::MAX) | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            RuleAttribute::Other(other) if PORT_MASKS.contains(&other.kind()) => {}
            _ => return None,
        }
        Some(())
    }
}

fn transport(number: u8) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|p| p.number() == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule {
            family: Family::V4,
            priority: 1300,
            iif: None,
            from: Some("10.1.0.5/32".parse().unwrap()),
            to: None,
            protocol: Some(Protocol::Udp),
            source_ports: Some(PortRange { first: 5000, last: 5009 }),
            destination_ports: None,
            fwmark: Some((0x100, 0x3f00)),
            table: 10_000,
        }
    }

    fn from_tunnel() -> Rule {
        let iif = Some(DeviceName("sor0".into()));
        Rule { priority: 1397, iif, from: None, protocol: None, source_ports: None, ..rule() }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(decode(&encode(&rule())), Some(rule()));
        let bare = Rule { from: None, protocol: None, source_ports: None, fwmark: None, ..rule() };
        assert_eq!(decode(&encode(&bare)), Some(bare));
        let mut message = encode(&from_tunnel());
        assert_eq!(decode(&message), Some(from_tunnel()));
        message.header.flags = RuleFlags::IifDetached;
        assert_eq!(decode(&message), Some(from_tunnel()), "its device is absent");
        assert_eq!(describe(&from_tunnel()), "1397: from all fwmark 0x100/0x3f00 iif sor0 lookup 10000");
    }

    #[test]
    fn a_rule_of_another_protocol_is_not_ours() {
        let mut message = encode(&rule());
        message.attributes[0] = RuleAttribute::Protocol(RouteProtocol::Boot);
        assert_eq!(decode(&message), None);
        message.attributes.remove(0);
        assert_eq!(decode(&message), None);
    }

    #[test]
    fn a_rule_with_an_unknown_selector_is_not_decoded() {
        let mut message = encode(&rule());
        message.attributes.push(RuleAttribute::Oifname("eth0".into()));
        assert_eq!(decode(&message), None);
    }

    #[test]
    fn a_deletion_takes_what_is_more_specific() {
        let whole = Rule { protocol: None, source_ports: None, ..rule() };
        assert!(deletion_takes(&whole, &rule()));
        assert!(!deletion_takes(&rule(), &whole));
        let anywhere = Rule { iif: None, ..from_tunnel() };
        assert!(deletion_takes(&anywhere, &from_tunnel()) && !deletion_takes(&from_tunnel(), &anywhere));
        assert!(!deletion_takes(&whole, &Rule { table: 10_001, ..rule() }));
    }
}
