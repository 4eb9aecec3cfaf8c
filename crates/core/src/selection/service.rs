//! What a Service's annotations ask for the pods it selects.
//!
//! Guarantees: the entries carry the Service as their source. Leaves out: its addresses, and reading of port
//! and network lists, which [`crate::annotation`] does for all objects.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;

use crate::annotation::{self, PREFIX};
use crate::model::{Egress, Family, Labels, ObjectName, PortMatch, PortRange, Reason, Rejection, Service, ServicePort};
use crate::model::{Source, TargetPort};
use crate::selection::PathKey;
use crate::selection::wish::{Subject, Who};
use crate::world::World;

/// Narrowing annotations of a Service and what they are called on a pod.
const NARROWING: [(&str, &str); 4] = [
    ("egress-source-ports", "ports"),
    ("egress-destination-ports", "destination-ports"),
    ("egress-destinations", "destinations"),
    ("egress-except-destinations", "except-destinations"),
];

/// Whether the Service asks for anything.
pub(super) fn asks(service: &Service) -> bool {
    text(service, "route").is_some() || text(service, "egress").is_some_and(|v| v != "false")
}

/// Whether the Service selects pods with these labels; an empty selector selects nothing.
pub(super) fn selects(service: &Service, labels: &Labels) -> bool {
    !service.selector.is_empty() && service.selector.iter().all(|(k, v)| labels.get(k) == Some(v))
}

/// The path of answers to the Service's clients.
pub(super) fn answers(service: &Service) -> Option<PathKey> {
    let route = text(service, "route")?.to_owned();
    Some(PathKey::Address { service: service.name.clone(), route: Some(route) })
}

/// Every path with an address that an object of the world asks for.
pub(super) fn paths(world: &World) -> BTreeSet<PathKey> {
    let services = world.services.values().filter(|service| asks(service)).map(|service| PathKey::Address {
        service: service.name.clone(),
        route: text(service, "route").map(str::to_owned),
    });
    let policies = world.policies.values().map(|p| (&p.name.namespace, std::slice::from_ref(&p.egress)));
    let pods = world.pods.values().map(|p| (&p.name.namespace, p.egress.as_slice()));
    let namespaces = world.namespaces.values().map(|n| (&n.name, n.egress.as_slice()));
    let named = policies.chain(pods).chain(namespaces);
    let by_name = named.flat_map(|(namespace, asks)| asks.iter().filter_map(move |egress| path(namespace, egress)));
    let exists = |path: &PathKey| path.service().and_then(|s| world.services.get(s)).is_some_and(Service::is_ours);
    services.chain(by_name).filter(exists).collect()
}

fn path(namespace: &str, egress: &Egress) -> Option<PathKey> {
    let Source::Service(name) = &egress.source else { return None };
    let service = ObjectName { namespace: namespace.to_owned(), name: name.clone() };
    Some(PathKey::Address { service, route: egress.route.clone() })
}

/// What the Service asks for a pod: its target ports by the route, and all traffic if it says so.
///
/// # Errors
/// The first malformed annotation.
pub(super) fn egress(service: &Service, subject: &Subject<'_>) -> Result<Vec<Egress>, Rejection> {
    let mut entries: Vec<Egress> = by_route(service, subject)?.into_iter().collect();
    match text(service, "egress") {
        None | Some("false") => {}
        Some("true") => entries.extend(everything(service, subject)?),
        Some(other) => return Err(malformed(service, "egress", format!("{other:?} is neither true nor false"))),
    }
    Ok(entries)
}

fn by_route(service: &Service, subject: &Subject<'_>) -> Result<Option<Egress>, Rejection> {
    let Some(route) = text(service, "route") else { return Ok(None) };
    if service.ports.is_empty() {
        return Err(malformed(service, "route", "the Service has no ports".to_owned()));
    }
    let ports = targets(service, subject);
    let narrow = |ports| Egress {
        route: Some(route.to_owned()),
        ports,
        destination_ports: Vec::new(),
        destinations: Vec::new(),
        except_destinations: Vec::new(),
        source: Source::Service(service.name.name.clone()),
    };
    Ok((!ports.is_empty()).then(|| narrow(ports)))
}

fn everything(service: &Service, subject: &Subject<'_>) -> Result<Vec<Egress>, Rejection> {
    let Some(translated) = as_pod_annotations(service, subject) else { return Ok(Vec::new()) };
    let entries = annotation::egress(&format!("Service {}", service.name), &translated).map_err(renamed)?;
    in_families(service, entries)
}

/// What a pod would write to ask for the same. `None` if the Service narrows to ports the pod does not have.
pub(super) fn as_pod_annotations(service: &Service, subject: &Subject<'_>) -> Option<BTreeMap<String, String>> {
    let mut translated = BTreeMap::new();
    let mut put = |key: &str, value: String| translated.insert(format!("{PREFIX}{key}"), value);
    put("source", format!("service/{}", service.name.name));
    if let Some(route) = text(service, "route") {
        put("route", route.to_owned());
    }
    for (ours, pods) in NARROWING {
        let Some(value) = text(service, ours) else { continue };
        let resolved = if ours.ends_with("ports") { with_targets(value, service, subject) } else { value.to_owned() };
        if resolved.is_empty() && !value.is_empty() {
            return None;
        }
        put(pods, resolved);
    }
    Some(translated)
}

/// The list with the word `target` replaced by the Service's target ports.
fn with_targets(list: &str, service: &Service, subject: &Subject<'_>) -> String {
    let targets = || targets(service, subject).iter().map(written).collect::<Vec<_>>();
    let parts = list.split(',').map(str::trim);
    let words = parts.flat_map(|part| if part == "target" { targets() } else { vec![part.to_owned()] });
    words.collect::<Vec<_>>().join(",")
}

fn written(port: &PortMatch) -> String {
    format!("{}:{}-{}", port.protocol.name(), port.ports.first, port.ports.last)
}

/// Target ports as the pod's own ports. A named port that the pod does not have is left out; for the Service
/// by itself it stands for any port.
fn targets(service: &Service, subject: &Subject<'_>) -> Vec<PortMatch> {
    let any = PortRange { first: 1, last: u16::MAX };
    let resolve = |port: &ServicePort| match &port.target {
        TargetPort::Number(n) => Some(PortMatch { protocol: port.protocol, ports: PortRange { first: *n, last: *n } }),
        TargetPort::Name(_) if matches!(subject.pod, Who::Anyone) => {
            Some(PortMatch { protocol: port.protocol, ports: any })
        }
        TargetPort::Name(name) => subject.port(name).filter(|found| found.protocol == port.protocol),
    };
    service.ports.iter().filter_map(resolve).collect()
}

/// The entries for the families of `egress-families` only.
pub(super) fn in_families(service: &Service, entries: Vec<Egress>) -> Result<Vec<Egress>, Rejection> {
    let Some(list) = text(service, "egress-families") else { return Ok(entries) };
    let mut families = Vec::new();
    for word in list.split(',').map(str::trim) {
        families.push(match word {
            "ipv4" => Family::V4,
            "ipv6" => Family::V6,
            _ => return Err(malformed(service, "egress-families", format!("{word:?} is neither ipv4 nor ipv6"))),
        });
    }
    let keep = |family: Family| families.contains(&family);
    Ok(entries.into_iter().filter_map(|entry| restricted(entry, &keep)).collect())
}

/// The entry for some families only; `None` if all its destinations are of the others.
fn restricted(mut entry: Egress, keep: &impl Fn(Family) -> bool) -> Option<Egress> {
    if Family::ALL.into_iter().all(keep) {
        return Some(entry);
    }
    if entry.destinations.is_empty() {
        entry.destinations = [("0.0.0.0/0", Family::V4), ("::/0", Family::V6)]
            .into_iter()
            .filter(|(_, family)| keep(*family))
            .filter_map(|(text, _)| text.parse::<IpNetwork>().ok())
            .collect();
    } else {
        entry.destinations.retain(|n| keep(Family::of_network(*n)));
    }
    (!entry.destinations.is_empty()).then_some(entry)
}

fn text<'a>(service: &'a Service, key: &str) -> Option<&'a str> {
    let named = |name: &str| name.strip_prefix(PREFIX) == Some(key);
    service.meta.annotations.iter().find(|(name, _)| named(name)).map(|(_, value)| value.trim())
}

fn malformed(service: &Service, key: &str, message: String) -> Rejection {
    Rejection {
        reason: Reason::Invalid,
        object: format!("Service {}", service.name),
        field: format!("{PREFIX}{key}"),
        message,
        remedy: "correct the annotation or remove it".to_owned(),
    }
}

/// A rejection of a translated annotation under the name it has on a Service.
fn renamed(rejection: Rejection) -> Rejection {
    let original = NARROWING.iter().find(|(_, pods)| rejection.field.ends_with(&format!("{PREFIX}{pods}")));
    match original {
        Some((ours, _)) => Rejection { field: format!("{PREFIX}{ours}"), ..rejection },
        None => rejection,
    }
}
