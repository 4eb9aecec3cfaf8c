//! The fields that `EgressPolicy`, annotations and the net conf have in common.
//!
//! Guarantees: a route, or a Service as source, is named. Leaves out: whether they exist.

use crate::model::{Egress, Source};
use crate::reader::{ENTRIES_MAX, Fault, Field, NETWORKS_MAX, Read, name, network, ports};

/// Fields of an entry.
pub(crate) const FIELDS: [&str; 6] =
    ["route", "ports", "destinationPorts", "destinations", "exceptDestinations", "source"];

/// How ports and source may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As objects, as in the Kubernetes API.
    Objects,
    /// As objects or as text (`udp:5060`, `service/sip`).
    ObjectsOrText,
}

/// The entry; the caller has looked for unknown fields.
pub(crate) fn egress(field: &Field<'_>, form: Form) -> Read<Egress> {
    let port = if form == Form::Objects { ports::object } else { ports::object_or_text };
    let source = field.optional("source", |f| source(f, form))?.unwrap_or(Source::Device);
    let route = field.optional("route", name::object)?;
    if route.is_none() && !matches!(source, Source::Service(_)) {
        let missing = field.require("route").err().map(|fault| Fault { remedy: REMEDY.to_owned(), ..fault });
        return Err(missing.unwrap_or_else(|| field.fault("names no route", REMEDY)));
    }
    Ok(Egress {
        route,
        ports: field.list("ports", ENTRIES_MAX, port)?,
        destination_ports: field.list("destinationPorts", ENTRIES_MAX, port)?,
        destinations: field.list("destinations", NETWORKS_MAX, network::network)?,
        except_destinations: field.list("exceptDestinations", NETWORKS_MAX, network::network)?,
        source,
    })
}

const REMEDY: &str = "name a ServiceOutboundRoute, or a Service as source";

/// `service/NAME`, `device` or `pod`, found at `path`.
pub(crate) fn source_text(path: &str, text: &str) -> Read<Source> {
    if let Some((kind, service)) = text.split_once('/')
        && kind.eq_ignore_ascii_case("service")
    {
        return Ok(Source::Service(name::object_text(path, service)?));
    }
    match text.to_ascii_lowercase().as_str() {
        "device" => Ok(Source::Device),
        "pod" => Ok(Source::Pod),
        _ => Err(Fault::invalid(path, format!("{text:?} is not a source"), "use service/NAME, device or pod")),
    }
}

fn source(field: &Field<'_>, form: Form) -> Read<Source> {
    if let (Form::ObjectsOrText, Some(text)) = (form, field.as_text()) {
        return source_text(field.path(), text);
    }
    let field = field.clone().strict(&["type", "serviceName"])?;
    let kinds = [("Service", None), ("Device", Some(&Source::Device)), ("Pod", Some(&Source::Pod))];
    let Some(plain) = field.require("type")?.choice(&kinds)? else {
        return Ok(Source::Service(name::object(&field.require("serviceName")?)?));
    };
    match field.get("serviceName") {
        None => Ok(plain.clone()),
        Some(extra) => Err(extra.fault("has no meaning with this type", "remove it or write type: Service")),
    }
}
