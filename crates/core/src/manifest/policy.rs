//! `EgressPolicy`.

use super::{meta, route};
use crate::model::{EgressPolicy, ObjectKey};
use crate::reader::egress::{self, FIELDS, Form};
use crate::reader::{Field, Read, selector};

/// The policy.
pub(super) fn policy(key: &ObjectKey, field: &Field<'_>) -> Read<EgressPolicy> {
    let meta = meta::with_annotations(field, &[])?;
    let known = [&["podSelector"][..], &FIELDS].concat();
    let spec = route::spec(field, &known)?;
    Ok(EgressPolicy {
        name: key.name.clone(),
        meta,
        pod_selector: selector::selector(&spec.require("podSelector")?)?,
        egress: egress::egress(&spec, Form::Objects)?,
    })
}
