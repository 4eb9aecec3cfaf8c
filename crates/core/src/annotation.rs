//! Annotations and net conf routes as [`Egress`] values.
//!
//! Guarantees: an unknown `sortie.dev/` key, an unreadable value, or two routes for one port is a
//! [`Rejection`] that names the key. Leaves out: whether the route exists or may be used.

mod conflict;
pub mod kube_vip;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{Egress, Rejection, Source};
use crate::reader::egress::{self as entry, Form};
use crate::reader::{ENTRIES_MAX, Fault, Field, NETWORKS_MAX, Read, name, network, ports};

/// Prefix of every annotation of ours.
pub const PREFIX: &str = "sortie.dev/";

/// Where annotations stand in an object.
pub(crate) const PATH: &str = "metadata.annotations";

/// Keys on a pod or namespace; those but the last make one entry together.
const KEYS: [&str; 7] =
    ["route", "ports", "destination-ports", "destinations", "except-destinations", "source", "routes"];

/// An entry and the field that is to blame if it contradicts an earlier one.
struct Entry {
    field: String,
    egress: Egress,
}

/// What a pod's or namespace's annotations ask for; empty when they ask for nothing.
///
/// # Errors
/// The first malformed annotation; `object` is named in it (`Pod core/sip-1`).
pub fn egress(object: &str, annotations: &BTreeMap<String, String>) -> Result<Vec<Egress>, Rejection> {
    let read = || {
        refuse_unknown(annotations.keys(), &KEYS)?;
        let mut entries: Vec<Entry> = plain(annotations)?.into_iter().collect();
        entries.extend(several(annotations)?);
        agreed(entries)
    };
    read().map_err(|fault: Fault| fault.of(object))
}

/// What the net conf's `routes` ask for.
///
/// # Errors
/// The first malformed entry, with its index (`routes[1].ports`).
pub fn net_conf(routes: &[Value]) -> Result<Vec<Egress>, Rejection> {
    let read = || {
        let fields = routes.iter().enumerate().map(|(i, json)| Field::new(json, format!("routes[{i}]")));
        listed("routes", fields.collect()).and_then(agreed)
    };
    read().map_err(|fault: Fault| fault.of("net conf"))
}

/// Refuses the first key of ours that is not `known` (given without prefix).
pub(crate) fn refuse_unknown<'a>(keys: impl Iterator<Item = &'a String>, known: &[&str]) -> Read<()> {
    for key in keys {
        if key.strip_prefix(PREFIX).is_some_and(|ours| !known.contains(&ours)) {
            let names = known.iter().map(|key| format!("{PREFIX}{key}")).collect::<Vec<_>>();
            let remedy = match known {
                [] => "remove it; this kind has none".to_owned(),
                _ => format!("remove it or use one of {}", names.join(", ")),
            };
            return Err(Fault::invalid(&format!("{PATH}.{key}"), "is not a known annotation of this kind", remedy));
        }
    }
    Ok(())
}

/// The entry that the plain keys make together.
fn plain(annotations: &BTreeMap<String, String>) -> Read<Option<Entry>> {
    let at = |key: &str| annotations.get(&format!("{PREFIX}{key}")).map(|text| (path(key), text.trim()));
    let route = at("route").map(|(path, text)| name::object_text(&path, text)).transpose()?;
    let source = at("source").map(|(path, text)| entry::source_text(&path, text)).transpose()?;
    if route.is_none() && !matches!(source, Some(Source::Service(_))) {
        let stray = KEYS[..KEYS.len() - 1].iter().find(|key| at(key).is_some());
        let remedy = format!("add {PREFIX}route, or {PREFIX}source: service/NAME");
        return stray.map_or(Ok(None), |key| Err(Fault::invalid(&path(key), "stands without a route", remedy)));
    }
    let port_list = |key| at(key).map_or(Ok(vec![]), |(p, text)| limited(&p, ports::list_text(&p, text)?, ENTRIES_MAX));
    let net_list =
        |key| at(key).map_or(Ok(vec![]), |(p, text)| limited(&p, network::networks_text(&p, text)?, NETWORKS_MAX));
    let egress = Egress {
        route,
        ports: port_list("ports")?,
        destination_ports: port_list("destination-ports")?,
        destinations: net_list("destinations")?,
        except_destinations: net_list("except-destinations")?,
        source: source.unwrap_or(Source::Device),
    };
    Ok(Some(Entry { field: path("route"), egress }))
}

/// The entries of the JSON list.
fn several(annotations: &BTreeMap<String, String>) -> Read<Vec<Entry>> {
    let Some(text) = annotations.get(&format!("{PREFIX}routes")) else { return Ok(Vec::new()) };
    let path = path("routes");
    let remedy = r#"write a JSON list such as [{"route":"NAME","ports":["udp:5060"]}]"#;
    let json: Value =
        serde_json::from_str(text).map_err(|error| Fault::invalid(&path, format!("is not JSON: {error}"), remedy))?;
    listed(&path, Field::new(&json, &path).items()?)
}

fn listed(path: &str, fields: Vec<Field<'_>>) -> Read<Vec<Entry>> {
    let read = |field: Field<'_>| {
        let field = field.strict(&entry::FIELDS)?;
        Ok(Entry { field: field.path().to_owned(), egress: entry::egress(&field, Form::ObjectsOrText)? })
    };
    limited(path, fields, ENTRIES_MAX)?.into_iter().map(read).collect()
}

fn limited<T>(path: &str, list: Vec<T>, most: usize) -> Read<Vec<T>> {
    if list.len() <= most {
        return Ok(list);
    }
    Err(Fault::invalid(path, format!("has {} entries, more than {most}", list.len()), "use ranges or fewer entries"))
}

fn agreed(entries: Vec<Entry>) -> Read<Vec<Egress>> {
    conflict::refuse(&entries)?;
    Ok(entries.into_iter().map(|entry| entry.egress).collect())
}

fn path(key: &str) -> String {
    format!("{PATH}.{PREFIX}{key}")
}

#[cfg(test)]
mod tests;
