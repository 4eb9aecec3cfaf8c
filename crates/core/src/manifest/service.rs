//! Core `Service`.
//!
//! Leaves out: the values of its annotations, which depend on the pod ([`crate::selection`]).

use std::net::IpAddr;

use super::meta;
use crate::model::{ObjectKey, Protocol, Service, ServicePort, TargetPort};
use crate::reader::{Field, NETWORKS_MAX, Read, network, ports, selector};

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
    Ok(Service {
        selector: spec.optional("selector", selector::labels)?.unwrap_or_default(),
        ports: spec.list("ports", usize::MAX, port)?,
        load_balancer: spec.optional("type", Field::text)? == Some("LoadBalancer"),
        class: spec.optional("loadBalancerClass", Field::text)?.unwrap_or_default().to_owned(),
        ..service
    })
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
