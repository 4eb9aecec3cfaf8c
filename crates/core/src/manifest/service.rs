//! Core `Service`.
//!
//! Leaves out: the values of its annotations, which depend on the pod ([`crate::selection`]).

use std::net::IpAddr;

use super::meta::{self, within};
use crate::annotation::PREFIX;
use crate::model::{DeviceName, Family, Meta, ObjectKey, Protocol, Service, ServicePort, TargetPort};
use crate::reader::{Field, NETWORKS_MAX, Read, name, network, ports, selector};

const ANNOTATIONS: [&str; 10] = [
    "route",
    "egress",
    "egress-source-ports",
    "egress-destination-ports",
    "egress-destinations",
    "egress-except-destinations",
    "egress-families",
    "addresses",
    "interfaces",
    "owner-node",
];

/// The Service.
pub(super) fn service(key: &ObjectKey, field: &Field<'_>) -> Read<Service> {
    let meta = meta::with_annotations(field, &ANNOTATIONS)?;
    let service = Service { name: key.name.clone(), meta, addresses: addresses(field)?, ..Service::default() };
    let Some(spec) = field.get("spec") else { return Ok(service) };
    let spec = spec.lenient()?;
    let asked = requested(&service.meta, field)?;
    let asked =
        if asked.is_empty() { spec.optional("loadBalancerIP", network::host)?.into_iter().collect() } else { asked };
    Ok(Service {
        requested: asked,
        families: spec.list("ipFamilies", 2, family)?,
        interfaces: interfaces(&service.meta, field)?,
        selector: spec.optional("selector", selector::labels)?.unwrap_or_default(),
        ports: spec.list("ports", usize::MAX, port)?,
        load_balancer: spec.optional("type", Field::text)? == Some("LoadBalancer"),
        class: spec.optional("loadBalancerClass", Field::text)?.unwrap_or_default().to_owned(),
        ..service
    })
}

/// Values of a comma-separated annotation of ours.
fn listed<T>(meta: &Meta, field: &Field<'_>, name: &str, read: fn(&str, &str) -> Read<T>) -> Read<Vec<T>> {
    let key = format!("{PREFIX}{name}");
    let Some(list) = meta.annotations.get(&key) else { return Ok(Vec::new()) };
    let path = format!("metadata.annotations.{key}");
    let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| read(&path, word).map_err(|fault| within(field, fault))).collect()
}

fn requested(meta: &Meta, field: &Field<'_>) -> Read<Vec<IpAddr>> {
    listed(meta, field, "addresses", network::host_text)
}

fn interfaces(meta: &Meta, field: &Field<'_>) -> Read<Vec<DeviceName>> {
    listed(meta, field, "interfaces", name::device_text)
}

fn family(field: &Field<'_>) -> Read<Family> {
    match field.text()? {
        "IPv4" => Ok(Family::V4),
        "IPv6" => Ok(Family::V6),
        other => Err(field.fault(format!("is {other:?}"), "write IPv4 or IPv6")),
    }
}

fn port(field: &Field<'_>) -> Read<ServicePort> {
    let field = field.clone().lenient()?;
    let port = ports::port(&field.require("port")?)?;
    let target = match field.get("targetPort") {
        None => TargetPort::Number(port),
        Some(target) if target.is_number() => TargetPort::Number(ports::port(&target)?),
        Some(target) => TargetPort::Name(target.text()?.to_owned()),
    };
    Ok(ServicePort { protocol: field.optional("protocol", ports::protocol)?.unwrap_or(Protocol::Tcp), port, target })
}

fn addresses(field: &Field<'_>) -> Read<Vec<IpAddr>> {
    let Some(status) = field.get("status") else { return Ok(Vec::new()) };
    let Some(balancer) = status.lenient()?.get("loadBalancer") else { return Ok(Vec::new()) };
    let found = balancer
        .lenient()?
        .list("ingress", NETWORKS_MAX, |entry| entry.clone().lenient()?.optional("ip", network::address))?;
    Ok(found.into_iter().flatten().collect())
}
