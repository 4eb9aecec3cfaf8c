//! `List` documents as the objects in them.
//!
//! Guarantees: lists within lists are opened too; an entry of a typed list that leaves out its kind has the
//! list's.

use serde_json::Value;

use super::identity;

/// One object of a document.
pub(super) struct Item {
    pub(super) json: Value,
    /// Where it stands in the document; empty for a document that is no list.
    pub(super) path: String,
}

/// The objects of a document; an empty document has none.
pub(super) fn items(json: Value) -> Vec<Item> {
    let mut found = Vec::new();
    open(Item { json, path: String::new() }, &mut found);
    found
}

fn open(mut item: Item, found: &mut Vec<Item>) {
    let kind = identity::listed(&item.json).map(str::to_owned);
    let entries = item.json.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
    let (Some(kind), Some(entries)) = (kind, entries) else {
        if !item.json.is_null() {
            found.push(item);
        }
        return;
    };
    let version = item.json.get("apiVersion").cloned();
    let path = if item.path.is_empty() { "items".to_owned() } else { format!("{}.items", item.path) };
    for (index, mut json) in entries.into_iter().enumerate() {
        if let (Some(map), false) = (json.as_object_mut(), kind.is_empty()) {
            map.entry("kind").or_insert_with(|| Value::from(kind.as_str()));
            map.entry("apiVersion").or_insert_with(|| version.clone().unwrap_or_default());
        }
        open(Item { json, path: format!("{path}[{index}]") }, found);
    }
}
