//! Kind, version, namespace and name of a document.
//!
//! Guarantees: a document of our group that we do not understand is refused, never left out. Leaves out:
//! other groups, and core kinds that we do not read.

use serde_json::Value;

use crate::model::{Kind, ObjectKey, ObjectName};
use crate::reader::{Fault, Field, Read, name};

const GROUP: &str = "sortie.dev";
const VERSION: &str = "sortie.dev/v1alpha1";

/// Group and version of the Service networks (`kubernetes.io/docs/reference/networking/service-cidr`, GA in 1.33).
const NETWORKING: &str = "networking.k8s.io/v1";
const SERVICE_CIDR: &str = "ServiceCIDR";

const CORE: [(&str, Kind); 4] =
    [("Node", Kind::Node), ("Namespace", Kind::Namespace), ("Pod", Kind::Pod), ("Service", Kind::Service)];
const OURS: [(&str, Kind); 3] = [
    ("ServiceOutboundRoute", Kind::ServiceOutboundRoute),
    ("EgressPolicy", Kind::EgressPolicy),
    ("AddressPool", Kind::AddressPool),
];

/// Whose a document is.
pub(super) enum Identity {
    /// Not for us.
    Foreign,
    /// For us, but not understood.
    Refused(Option<ObjectKey>, Fault),
    /// An object we read.
    Ours(ObjectKey),
}

/// Whose the document is.
pub(super) fn identity(field: &Field<'_>) -> Identity {
    let kind = match known_kind(field) {
        Ok(Some(kind)) => kind,
        Ok(None) => return Identity::Foreign,
        Err(fault) => return Identity::Refused(None, fault),
    };
    let version = field.get("apiVersion").and_then(|f| f.as_text()).unwrap_or_default();
    let is_right = version
        == match kind {
            Kind::ServiceCidr => NETWORKING,
            kind if is_core(kind) => "v1",
            _ => VERSION,
        };
    let wrong = || Fault {
        field: field.require("apiVersion").map_or_else(|fault| fault.field, |f| f.path().to_owned()),
        ..Fault::invalid("", format!("{version:?} is not a version of {kind:?}"), format!("write {VERSION}"))
    };
    match key(kind, field) {
        Ok(key) if is_right => Identity::Ours(key),
        Ok(key) => Identity::Refused(Some(key), wrong()),
        Err(fault) => Identity::Refused(None, fault),
    }
}

/// The kind of the entries if the document is a list we open: empty for `List`.
pub(super) fn listed(json: &Value) -> Option<&str> {
    let kind = json.get("kind")?.as_str()?.strip_suffix("List")?;
    let version = json.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let known = if group(version) == GROUP { find(&OURS, kind) } else { find(&CORE, kind) };
    let is_list = kind.is_empty() && version == "v1";
    let is_typed = known.is_some() && (version == "v1" || group(version) == GROUP);
    (is_list || is_typed).then_some(kind)
}

fn known_kind(field: &Field<'_>) -> Read<Option<Kind>> {
    let field = field.clone().lenient()?;
    let (kind, version) = (field.require("kind")?, field.require("apiVersion")?);
    let (name, group) = (kind.text()?, group(version.text()?));
    if group == GROUP {
        let names = OURS.map(|(name, _)| name).join(", ");
        let unknown = || kind.fault(format!("{name:?} is not a kind of {GROUP}"), format!("use one of {names}"));
        return find(&OURS, name).map(Some).ok_or_else(unknown);
    }
    if group.is_empty() && name.is_empty() {
        return Err(kind.fault("is empty", "name the kind"));
    }
    if (name, version.text()?) == (SERVICE_CIDR, NETWORKING) {
        return Ok(Some(Kind::ServiceCidr));
    }
    let is_v1 = version.text()? == "v1";
    Ok(find(&CORE, name).filter(|_| is_v1).or_else(|| find(&OURS, name).filter(|_| group.is_empty())))
}

fn is_core(kind: Kind) -> bool {
    CORE.iter().any(|(_, core)| *core == kind)
}

fn find(kinds: &[(&str, Kind)], name: &str) -> Option<Kind> {
    kinds.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// The group of an `apiVersion`: empty for core.
fn group(version: &str) -> &str {
    match version.split_once('/') {
        Some((group, _)) => group,
        None if version == GROUP => GROUP,
        None => "",
    }
}

fn key(kind: Kind, field: &Field<'_>) -> Read<ObjectKey> {
    let metadata = field.require("metadata")?.lenient()?;
    let object = name::object(&metadata.require("name")?)?;
    let is_namespaced = matches!(kind, Kind::Pod | Kind::Service | Kind::EgressPolicy);
    let given = if is_namespaced { metadata.get("namespace") } else { None };
    let namespace = match given {
        Some(given) => name::object(&given)?,
        None if is_namespaced => "default".to_owned(),
        None => String::new(),
    };
    Ok(ObjectKey { kind, name: ObjectName { namespace, name: object } })
}
