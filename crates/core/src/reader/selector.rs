//! Label maps, label selectors and `allowedNamespaces`.
//!
//! Guarantees: a selector that could be read in two ways is refused. Leaves out: the syntax of labels.

use crate::model::{AllowedNamespaces, LabelExpression, LabelOperator, LabelSelector, Labels};
use crate::reader::{ENTRIES_MAX, Field, Read};

const OPERATORS: [(&str, LabelOperator); 4] = [
    ("In", LabelOperator::In),
    ("NotIn", LabelOperator::NotIn),
    ("Exists", LabelOperator::Exists),
    ("DoesNotExist", LabelOperator::DoesNotExist),
];

/// A map from text to text.
pub(crate) fn labels(field: &Field<'_>) -> Read<Labels> {
    let object = field.clone().lenient()?;
    object.entries().map(|(key, value)| Ok((key.to_owned(), value.text()?.to_owned()))).collect()
}

/// Prefix, `/` and name of a label (`kubernetes.io/docs/concepts/overview/working-with-objects/labels`).
const KEY_MAX: usize = 253 + 1 + 63;
/// Value of a label.
const VALUE_MAX: usize = 63;

/// `{matchLabels, matchExpressions}`.
pub(crate) fn selector(field: &Field<'_>) -> Read<LabelSelector> {
    let field = field.clone().strict(&["matchLabels", "matchExpressions"])?;
    Ok(LabelSelector {
        match_labels: field.optional("matchLabels", match_labels)?.unwrap_or_default(),
        match_expressions: field.list("matchExpressions", ENTRIES_MAX, expression)?,
    })
}

fn match_labels(field: &Field<'_>) -> Read<Labels> {
    let count = field.entries().count();
    if count > ENTRIES_MAX {
        return Err(field.fault(format!("has {count} entries, more than {ENTRIES_MAX}"), "split the object"));
    }
    for (name, entry) in field.entries() {
        short(&entry, name, KEY_MAX)?;
        value(&entry)?;
    }
    labels(field)
}

fn short(field: &Field<'_>, text: &str, most: usize) -> Read<()> {
    let is_short = text.chars().count() <= most;
    let fault = || field.fault(format!("has more than {most} characters"), "use what a label can be");
    is_short.then_some(()).ok_or_else(fault)
}

fn value(field: &Field<'_>) -> Read<String> {
    let text = field.text()?;
    short(field, text, VALUE_MAX)?;
    Ok(text.to_owned())
}

/// `{from: All}` or `{from: Selector, selector}`.
pub(crate) fn allowed_namespaces(field: &Field<'_>) -> Read<AllowedNamespaces> {
    let field = field.clone().strict(&["from", "selector"])?;
    let is_all = field.require("from")?.choice(&[("All", true), ("Selector", false)])?;
    if !is_all {
        return Ok(AllowedNamespaces::Selector(selector(&field.require("selector")?)?));
    }
    match field.get("selector") {
        None => Ok(AllowedNamespaces::All),
        Some(both) => Err(both.fault("has no meaning with from: All", "remove it or write from: Selector")),
    }
}

fn expression(field: &Field<'_>) -> Read<LabelExpression> {
    let field = field.clone().strict(&["key", "operator", "values"])?;
    let key = field.require("key")?;
    if key.text()?.is_empty() {
        return Err(key.fault("is empty", "name a label"));
    }
    short(&key, key.text()?, KEY_MAX)?;
    let operator = field.require("operator")?.choice(&OPERATORS)?;
    let values = field.list("values", ENTRIES_MAX, value)?;
    let wants_values = matches!(operator, LabelOperator::In | LabelOperator::NotIn);
    if wants_values == values.is_empty() {
        let remedy = "give values with In and NotIn, and none with Exists and DoesNotExist";
        return Err(field.fault(format!("{operator:?} with {} values has no meaning", values.len()), remedy));
    }
    Ok(LabelExpression { key: key.text()?.to_owned(), operator, values: values.into_iter().collect() })
}
