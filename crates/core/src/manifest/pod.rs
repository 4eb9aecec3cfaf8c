//! Core `Pod`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::meta;
use crate::model::{ObjectKey, Pod, PortMatch, Protocol};
use crate::reader::{Field, NETWORKS_MAX, Read, network, ports};

/// The pod.
pub(super) fn pod(key: &ObjectKey, field: &Field<'_>) -> Read<Pod> {
    let meta = meta::meta(field)?;
    let egress = meta::egress(&meta, field)?;
    let pod = Pod { name: key.name.clone(), meta, addresses: addresses(field)?, egress, ..Pod::default() };
    let Some(spec) = field.get("spec") else { return Ok(pod) };
    let spec = spec.lenient()?;
    Ok(Pod {
        node: spec.optional("nodeName", Field::text)?.unwrap_or_default().to_owned(),
        host_network: spec.optional("hostNetwork", Field::boolean)?.unwrap_or_default(),
        named_ports: named_ports(&spec)?,
        ..pod
    })
}

/// A pod that has ended names addresses that may be another's by now.
const ENDED: [&str; 2] = ["Succeeded", "Failed"];

fn addresses(field: &Field<'_>) -> Read<Vec<IpAddr>> {
    let Some(status) = field.get("status") else { return Ok(Vec::new()) };
    let status = status.lenient()?;
    if status.optional("phase", Field::text)?.is_some_and(|phase| ENDED.contains(&phase)) {
        return Ok(Vec::new());
    }
    let entry = |entry: &Field<'_>| network::address(&entry.clone().lenient()?.require("ip")?);
    let several = status.list("podIPs", NETWORKS_MAX, entry)?;
    if !several.is_empty() {
        return Ok(several);
    }
    Ok(status.optional("podIP", network::address)?.into_iter().collect())
}

/// Of two ports with one name the first counts, as in Kubernetes.
fn named_ports(spec: &Field<'_>) -> Read<BTreeMap<String, PortMatch>> {
    let mut found = BTreeMap::new();
    let containers = spec.list("containers", usize::MAX, |container| {
        container.clone().lenient()?.list("ports", usize::MAX, named_port)
    })?;
    for (name, port) in containers.into_iter().flatten().flatten() {
        found.entry(name).or_insert(port);
    }
    Ok(found)
}

fn named_port(field: &Field<'_>) -> Read<Option<(String, PortMatch)>> {
    let field = field.clone().lenient()?;
    let Some(name) = field.get("name") else { return Ok(None) };
    let protocol = field.optional("protocol", ports::protocol)?.unwrap_or(Protocol::Tcp);
    let port = ports::port(&field.require("containerPort")?)?;
    Ok(Some((name.text()?.to_owned(), PortMatch { protocol, ports: ports::single(port) })))
}
