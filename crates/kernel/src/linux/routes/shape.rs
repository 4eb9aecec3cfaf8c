//! Our [`Route`] as a netlink message and back.
//!
//! Guarantees: `decode(encode(route)) == route`. Leaves out: sockets.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
    RouteProtocol, RouteScope, RouteType,
};
use sortie_core::ids;
use sortie_core::model::{DeviceName, Family};
use sortie_core::state::{Hop, Route, RouteKind};

use super::Names;

/// What the kernel makes of an IPv6 metric of 0 (`IP6_RT_PRIO_USER`).
const IPV6_DEFAULT_METRIC: u32 = 1024;

/// Asks for our routes of a family, of one table or of all.
pub(super) fn filter(family: Family, table: Option<u32>) -> RouteMessage {
    let mut message = unfiltered(family);
    message.header.protocol = RouteProtocol::from(ids::PROTOCOL);
    message.attributes = table.map(RouteAttribute::Table).into_iter().collect();
    message
}

/// Asks for all routes of a family. The header must stay empty otherwise, everything in it is a filter.
pub(super) fn unfiltered(family: Family) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message
}

/// The route, or the device that does not exist.
pub(super) fn encode<'a>(route: &'a Route, names: &Names) -> Result<RouteMessage, &'a DeviceName> {
    let mut message = identity(route);
    message.header.scope = RouteScope::Universe;
    let RouteKind::Unicast { hops, mtu } = &route.kind else { return Ok(message) };
    if hops.iter().all(|hop| hop.gateway.is_none()) {
        message.header.scope = RouteScope::Link;
    }
    message.attributes.extend(mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    let next_hops = hops.iter().map(|hop| next_hop(hop, names)).collect::<Result<Vec<_>, _>>()?;
    match <[RouteNextHop; 1]>::try_from(next_hops) {
        Ok([only]) => {
            if only.flags.contains(RouteNextHopFlags::Onlink) {
                message.header.flags = RouteFlags::Onlink;
            }
            message.attributes.push(RouteAttribute::Oif(only.interface_index));
            message.attributes.extend(only.attributes);
        }
        Err(several) => message.attributes.push(RouteAttribute::MultiPath(several)),
    }
    Ok(message)
}

/// Names the route by table, destination, metric, type and protocol; without next hops all of them go.
pub(super) fn deletion(route: &Route) -> RouteMessage {
    let mut message = identity(route);
    message.header.scope = RouteScope::NoWhere;
    message
}

/// Whether the message is a route of ours with the same table, destination, metric and type.
pub(super) fn is_at(route: &Route, message: &RouteMessage) -> bool {
    let found = Found::of(message);
    message.header.kind == kind_of(route)
        && found.table == route.table
        && found.metric == route.metric
        && found.destination == Some(route.destination)
}

/// Our route in a message; `None` for what a [`Route`] cannot express or a device that is gone.
pub(super) fn decode(message: &RouteMessage, names: &Names) -> Option<Route> {
    let found = Found::of(message);
    let kind = match message.header.kind {
        RouteType::Throw => RouteKind::Throw,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Unicast => RouteKind::Unicast { hops: hops_of(message, names)?, mtu: found.mtu },
        _ => return None,
    };
    Some(Route { table: found.table, destination: found.destination?, metric: found.metric, kind })
}

/// The route in iproute2 words.
pub(super) fn describe(route: &Route) -> String {
    let kind = match &route.kind {
        RouteKind::Throw => "throw ",
        RouteKind::Unreachable => "unreachable ",
        RouteKind::Unicast { .. } => "",
    };
    let mut text = format!("{kind}{} table {} metric {}", route.destination, route.table, route.metric);
    if let RouteKind::Unicast { hops, .. } = &route.kind {
        for hop in hops {
            let gateway = hop.gateway.map(|address| format!(" via {address}")).unwrap_or_default();
            text += &format!(" nexthop{gateway} dev {} weight {}", hop.device, hop.weight);
        }
    }
    text
}

fn identity(route: &Route) -> RouteMessage {
    let family = Family::of_network(route.destination);
    let mut message = filter(family, Some(route.table));
    message.header.table = RouteHeader::RT_TABLE_UNSPEC;
    message.header.kind = kind_of(route);
    message.header.destination_prefix_length = route.destination.prefix();
    message.attributes.push(RouteAttribute::Destination(route.destination.ip().into()));
    let metric = match (family, route.metric) {
        (Family::V6, 0) => IPV6_DEFAULT_METRIC,
        (_, metric) => metric,
    };
    message.attributes.push(RouteAttribute::Priority(metric));
    message
}

fn kind_of(route: &Route) -> RouteType {
    match route.kind {
        RouteKind::Throw => RouteType::Throw,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Unicast { .. } => RouteType::Unicast,
    }
}

fn next_hop<'a>(hop: &'a Hop, names: &Names) -> Result<RouteNextHop, &'a DeviceName> {
    let index = names.iter().find(|(_, name)| **name == hop.device).map(|(index, _)| *index);
    let mut next_hop = RouteNextHop::default();
    next_hop.interface_index = index.ok_or(&hop.device)?;
    // The field holds the weight less one (`struct rtnexthop`).
    next_hop.hops = u8::try_from(hop.weight.clamp(1, 256) - 1).unwrap_or(u8::MAX);
    if let Some(gateway) = hop.gateway {
        next_hop.flags = RouteNextHopFlags::Onlink;
        next_hop.attributes.push(RouteAttribute::Gateway(gateway.into()));
    }
    Ok(next_hop)
}

fn hops_of(message: &RouteMessage, names: &Names) -> Option<Vec<Hop>> {
    let several = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(next_hops) => Some(next_hops),
        _ => None,
    });
    let mut hops = match several {
        Some(next_hops) => next_hops
            .iter()
            .map(|n| hop_of(&n.attributes, (n.interface_index, u16::from(n.hops) + 1), names))
            .collect::<Option<Vec<_>>>()?,
        None => {
            let device = message.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            })?;
            vec![hop_of(&message.attributes, (device, 1), names)?]
        }
    };
    hops.sort();
    Some(hops)
}

fn hop_of(attributes: &[RouteAttribute], (index, weight): (u32, u16), names: &Names) -> Option<Hop> {
    let gateway = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => address_of(address),
        _ => None,
    });
    Some(Hop { device: names.get(&index)?.clone(), gateway, weight })
}

fn address_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

struct Found {
    table: u32,
    destination: Option<IpNetwork>,
    metric: u32,
    mtu: Option<u32>,
}

impl Found {
    fn of(message: &RouteMessage) -> Self {
        let header = &message.header;
        let any: IpAddr = match header.address_family {
            AddressFamily::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
            _ => std::net::Ipv4Addr::UNSPECIFIED.into(),
        };
        let mut found = Self { table: header.table.into(), destination: None, metric: 0, mtu: None };
        let mut destination = any;
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(table) => found.table = *table,
                RouteAttribute::Priority(metric) => found.metric = *metric,
                RouteAttribute::Destination(address) => destination = address_of(address).unwrap_or(any),
                RouteAttribute::Metrics(metrics) => found.mtu = mtu_of(metrics),
                _ => {}
            }
        }
        if destination.is_ipv6() && found.metric == IPV6_DEFAULT_METRIC {
            found.metric = 0;
        }
        found.destination = IpNetwork::new(destination, header.destination_prefix_length).ok();
        found
    }
}

fn mtu_of(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(device: &str, gateway: Option<&str>, weight: u16) -> Hop {
        Hop { device: DeviceName(device.into()), gateway: gateway.map(|g| g.parse().unwrap()), weight }
    }

    fn routes() -> Vec<Route> {
        let unicast = |hops, mtu| RouteKind::Unicast { hops, mtu };
        let route = |destination: &str, metric, kind| Route {
            table: 10_000,
            destination: destination.parse().unwrap(),
            metric,
            kind,
        };
        vec![
            route("10.0.0.0/8", 0, RouteKind::Throw),
            route("fd00::/8", 0, RouteKind::Throw),
            route("::/0", ids::METRIC_LAST, RouteKind::Unreachable),
            route("0.0.0.0/0", 0, unicast(vec![hop("a", Some("192.0.2.1"), 1)], Some(1400))),
            route("::/0", 0, unicast(vec![hop("a", Some("fe80::1"), 1), hop("b", Some("2001:db8::1"), 256)], None)),
            route("192.0.2.0/24", 0, unicast(vec![hop("b", None, 1)], None)),
        ]
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let names = Names::from([(3, DeviceName("a".into())), (4, DeviceName("b".into()))]);
        for route in routes() {
            assert_eq!(decode(&encode(&route, &names).unwrap(), &names), Some(route.clone()));
            assert!(is_at(&route, &deletion(&route)));
        }
    }

    #[test]
    fn a_missing_device_is_named() {
        let names = Names::from([(3, DeviceName("a".into()))]);
        let missing: Vec<_> = routes().iter().filter_map(|r| encode(r, &names).err().map(|d| d.0.clone())).collect();
        assert_eq!(missing, ["b", "b"]);
    }
}
