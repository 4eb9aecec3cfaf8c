//! Good and bad manifests, field by field.

mod files;
mod kinds;
mod routes;
mod specs;

use super::{Document, parse};
use crate::model::{Object, Rejection};

/// The only document of a text.
fn only(text: &str) -> Document {
    let mut found = parse("m.yaml", text);
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    found.remove(0)
}

fn accepted(text: &str) -> Object {
    only(text).object.unwrap_or_else(|refused| panic!("{text}: {refused}"))
}

fn refused(text: &str) -> Rejection {
    only(text).object.expect_err(text)
}

/// A document of ours around a spec in flow style.
fn ours(kind: &str, spec: &str) -> String {
    format!("apiVersion: sortie.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{{spec}}}\n")
}

/// Every spec is refused at the field that stands beside it.
fn all_refused(kind: &str, table: &[(&str, &str)]) {
    for (spec, field) in table {
        let found = refused(&ours(kind, spec));
        assert_eq!(found.field, *field, "{spec}: {found}");
        assert!(found.object.starts_with("m.yaml:1 ") && !found.message.is_empty() && !found.remedy.is_empty());
    }
}

fn all_accepted(kind: &str, specs: &[&str]) {
    for spec in specs {
        let _ = accepted(&ours(kind, spec));
    }
}
