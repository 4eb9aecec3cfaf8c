//! Addresses and networks.
//!
//! Guarantees: a network has no host bits; an address belongs to the family it is written in.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::reader::{Fault, Field, Read};

/// An address.
pub(crate) fn address(field: &Field<'_>) -> Read<IpAddr> {
    address_text(field.path(), field.text()?)
}

/// An address that one host can have on a wire.
pub(crate) fn host(field: &Field<'_>) -> Read<IpAddr> {
    host_text(field.path(), field.text()?)
}

/// The same found at `path`.
pub(crate) fn host_text(path: &str, text: &str) -> Read<IpAddr> {
    let address = address_text(path, text)?;
    match unusable(address) {
        None => Ok(address),
        Some(what) => {
            Err(Fault::invalid(path, format!("{address} is {what}"), "use the address of a host on the wire"))
        }
    }
}

/// Why no single host on a wire can have the address.
pub(crate) fn unusable(address: IpAddr) -> Option<&'static str> {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let kinds = [
        (address.is_unspecified(), "the unspecified address"),
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a multicast address"),
        (is_broadcast, "the broadcast address"),
    ];
    kinds.into_iter().find(|(holds, _)| *holds).map(|(_, what)| what)
}

/// A network: CIDR, or an address for /32 or /128.
pub(crate) fn network(field: &Field<'_>) -> Read<IpNetwork> {
    network_text(field.path(), field.text()?)
}

/// Networks separated by commas.
pub(crate) fn networks_text(path: &str, text: &str) -> Read<Vec<IpNetwork>> {
    text.split(',').map(|part| network_text(path, part.trim())).collect()
}

/// An address found at `path`.
pub(crate) fn address_text(path: &str, text: &str) -> Read<IpAddr> {
    let remedy = "write an IPv4 or IPv6 address";
    let address: IpAddr =
        text.parse().map_err(|_| Fault::invalid(path, format!("{text:?} is not an address"), remedy))?;
    let canonical = address.to_canonical();
    if canonical == address {
        return Ok(address);
    }
    Err(Fault::invalid(path, format!("{address} is an IPv4 address in IPv6 form"), format!("write {canonical}")))
}

/// A network found at `path`.
pub(crate) fn network_text(path: &str, text: &str) -> Read<IpNetwork> {
    let Some((first, length)) = text.split_once('/') else { return Ok(address_text(path, text)?.into()) };
    let address = address_text(path, first)?;
    let digits = length.bytes().all(|b| b.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    let network = length.parse().ok().filter(|_| digits).and_then(|n| IpNetwork::new(address, n).ok());
    let most = if address.is_ipv4() { 32 } else { 128 };
    let wrong_length = || {
        let message = format!("{text:?} has no good prefix length");
        Fault::invalid(path, message, format!("write /0 to /{most} after the address"))
    };
    let network = network.ok_or_else(wrong_length)?;
    if network.network() == address {
        return Ok(network);
    }
    let right = format!("{}/{}", network.network(), network.prefix());
    let message = format!("{text} has bits set behind its prefix");
    Err(Fault::invalid(path, message, format!("write {right} for the network, or {address} for the one address")))
}
