//! Ports and protocols, as objects and as text.
//!
//! Guarantees: ranges lie within 1..=65535 and are in order.

use serde_json::Value;

use crate::model::{PortMatch, PortRange, Protocol};
use crate::reader::{Fault, Field, Read};

const REMEDY: &str = "write PROTOCOL:PORT or PROTOCOL:FIRST-LAST with tcp, udp or sctp and ports from 1 to 65535";
const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// `{protocol, port, endPort}`.
pub(crate) fn object(field: &Field<'_>) -> Read<PortMatch> {
    let field = field.clone().strict(&["protocol", "port", "endPort"])?;
    let protocol = protocol(&field.require("protocol")?)?;
    let first = port(&field.require("port")?)?;
    let Some(end) = field.get("endPort") else { return Ok(PortMatch { protocol, ports: single(first) }) };
    let last = port(&end)?;
    if last < first {
        return Err(end.fault(format!("{last} is smaller than port {first}"), "use a port not smaller than port"));
    }
    Ok(PortMatch { protocol, ports: PortRange { first, last } })
}

/// `{protocol, port, endPort}` or `udp:5060`.
pub(crate) fn object_or_text(field: &Field<'_>) -> Read<PortMatch> {
    match field.as_text() {
        Some(written) => text(field.path(), written),
        None => object(field),
    }
}

/// A protocol as the Kubernetes API writes it.
pub(crate) fn protocol(field: &Field<'_>) -> Read<Protocol> {
    field.choice(&[("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)])
}

/// One port.
pub(crate) fn port(field: &Field<'_>) -> Read<u16> {
    field.number(1..=u16::MAX)
}

/// The range of one port.
pub(crate) fn single(port: u16) -> PortRange {
    PortRange { first: port, last: port }
}

/// `udp:5060,tcp:8000-8010`, found at `path`.
pub(crate) fn list_text(path: &str, list: &str) -> Read<Vec<PortMatch>> {
    list.split(',').map(|part| text(path, part.trim())).collect()
}

fn text(path: &str, written: &str) -> Read<PortMatch> {
    let parsed = || {
        let (protocol, ports) = written.split_once(':')?;
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let ports = PortRange { first: digits(first)?, last: digits(last)? };
        (ports.first <= ports.last).then_some(PortMatch { protocol: named(protocol)?, ports })
    };
    parsed().ok_or_else(|| Fault::invalid(path, format!("{} is not a port", Value::from(written)), REMEDY))
}

fn digits(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| is_plain && *port > 0)
}

fn named(text: &str) -> Option<Protocol> {
    PROTOCOLS.into_iter().find(|p| p.name().eq_ignore_ascii_case(text))
}
