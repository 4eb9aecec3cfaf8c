//! Our three kinds as the API server stores them.
//!
//! Guarantees: what `sortie_core::manifest` refuses in one object's `spec`, the schema refuses too, and the other way
//! round; every list and every string has a maximum. Leaves out: annotations, which a schema cannot see, and reading:
//! objects of the API are read like manifests.

#[expect(clippy::duplicated_attributes, reason = "kube's printcolumn may stand several times")]
mod policy;
#[expect(clippy::duplicated_attributes, reason = "kube's printcolumn may stand several times")]
mod pool;
#[expect(clippy::duplicated_attributes, reason = "kube's printcolumn may stand several times")]
mod route;
mod status;
mod values;

pub(crate) use policy::EgressPolicy;
pub(crate) use pool::AddressPool;
pub(crate) use route::ServiceOutboundRoute;

use serde_json::{Value, json};

/// `x-kubernetes-validations` of these rules and their messages.
fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(rule, message)| json!({ "rule": rule, "message": message })).collect()
}
