//! `metadata` of any kind.
//!
//! Guarantees: labels and our annotations are text. Leaves out: annotations of others but the one that marks
//! static pods.

use std::collections::BTreeMap;

use crate::annotation::{self, PREFIX};
use crate::model::{Egress, Meta};
use crate::reader::{Fault, Field, Read, selector};

/// UID of a static pod in its manifest's form (`kubernetes.io/docs/reference/labels-annotations-taints`).
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What selection needs of the metadata.
pub(super) fn meta(field: &Field<'_>) -> Read<Meta> {
    let metadata = field.require("metadata")?.lenient()?;
    let text = |name| metadata.optional(name, |f| f.text().map(str::to_owned)).map(Option::unwrap_or_default);
    Ok(Meta {
        labels: metadata.optional("labels", selector::labels)?.unwrap_or_default(),
        annotations: metadata.optional("annotations", annotations)?.unwrap_or_default(),
        created: text("creationTimestamp")?,
        uid: text("uid")?,
    })
}

/// The metadata of a kind on which only these annotations of ours may stand.
pub(super) fn with_annotations(field: &Field<'_>, known: &[&str]) -> Read<Meta> {
    let meta = meta(field)?;
    annotation::refuse_unknown(meta.annotations.keys(), known).map_err(|fault| within(field, fault))?;
    Ok(meta)
}

/// What the annotations of a pod or namespace ask for.
pub(super) fn egress(meta: &Meta, field: &Field<'_>) -> Read<Vec<Egress>> {
    annotation::egress("", &meta.annotations).map_err(|refusal| {
        let fault = Fault::invalid(&refusal.field, refusal.message, refusal.remedy);
        within(field, Fault { reason: refusal.reason, ..fault })
    })
}

/// The fault with its path as seen from the document, of which `field` may be one entry.
pub(super) fn within(field: &Field<'_>, fault: Fault) -> Fault {
    if field.path().is_empty() {
        return fault;
    }
    Fault { field: format!("{}.{}", field.path(), fault.field), ..fault }
}

fn annotations(field: &Field<'_>) -> Read<BTreeMap<String, String>> {
    let object = field.clone().lenient()?;
    let kept = object.entries().filter(|(key, _)| key.starts_with(PREFIX) || *key == MIRROR);
    kept.map(|(key, value)| Ok((key.to_owned(), value.text()?.to_owned()))).collect()
}
