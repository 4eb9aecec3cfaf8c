//! Manifest text (YAML, several documents, or a `List`) as objects.
//!
//! Guarantees: every document is judged by itself; a refused one says file, line and field, and its key
//! if it has a readable one, so that its last good state can be kept. Leaves out: reading files.

mod identity;
mod list;
mod meta;
mod node;
mod pod;
mod policy;
mod pool;
mod route;
mod service;
mod split;
mod yaml;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::{Kind, Namespace, Object, ObjectKey, Rejection, ServiceCidr};
use crate::reader::{ENTRIES_MAX, Fault, Field, Read, network};
use identity::Identity;
use list::Item;
use split::Chunk;

/// One document of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Line on which the document starts, from 1.
    pub line: usize,
    /// Identity, if it could be read.
    pub key: Option<ObjectKey>,
    /// `metadata.generation`, as an API server counts changes of `spec`.
    pub generation: Option<i64>,
    /// The object, or why it is refused.
    pub object: Result<Object, Rejection>,
}

/// All documents of one file, kinds we do not read left out.
#[must_use]
pub fn parse(file: &str, text: &str) -> Vec<Document> {
    let mut documents: Vec<Document> = split::chunks(text).flat_map(|chunk| read(file, &chunk)).collect();
    refuse_duplicates(file, &mut documents);
    documents
}

/// An object as the Kubernetes API gives it, unless it is of a kind we do not read.
#[must_use]
pub fn object_of_api(json: Value) -> Option<Document> {
    judge(&Place { file: "", line: 0 }, &Item { json, path: String::new() })
}

/// What we know of a document before it is judged; an object of the API is in no file.
struct Place<'a> {
    file: &'a str,
    line: usize,
}

impl Place<'_> {
    fn refused(&self, key: Option<ObjectKey>, fault: Fault) -> Document {
        let object = match &key {
            Some(key) if self.file.is_empty() => key.to_string(),
            Some(key) => format!("{}:{} {key}", self.file, self.line),
            None => format!("{}:{}", self.file, self.line),
        };
        Document { line: self.line, key, generation: None, object: Err(fault.of(&object)) }
    }
}

fn read(file: &str, chunk: &Chunk<'_>) -> Vec<Document> {
    match yaml::read(chunk) {
        Ok(json) => {
            let place = Place { file, line: chunk.start };
            list::items(json).iter().filter_map(|item| judge(&place, item)).collect()
        }
        Err(error) => {
            let place = Place { file, line: error.line };
            vec![Document { line: chunk.start, ..place.refused(None, error.fault) }]
        }
    }
}

fn judge(place: &Place<'_>, item: &Item) -> Option<Document> {
    let field = Field::new(&item.json, item.path.as_str());
    if identity::listed(&item.json).is_some() {
        let items = field.get("items")?;
        return Some(place.refused(None, items.fault("is not a list", "write a list of objects")));
    }
    let document = match identity::identity(&field) {
        Identity::Foreign => return None,
        Identity::Refused(key, fault) => place.refused(key, fault),
        Identity::Ours(key) => match read_kind(&key, &field) {
            Ok(object) => Document { line: place.line, key: Some(key), generation: None, object: Ok(object) },
            Err(fault) => place.refused(Some(key), fault),
        },
    };
    Some(Document { generation: item.json["metadata"]["generation"].as_i64(), ..document })
}

fn read_kind(key: &ObjectKey, field: &Field<'_>) -> Read<Object> {
    match key.kind {
        Kind::Node => node::node(key, field).map(Object::Node),
        Kind::Namespace => namespace(key, field).map(Object::Namespace),
        Kind::Pod => pod::pod(key, field).map(Object::Pod),
        Kind::Service => service::service(key, field).map(Object::Service),
        Kind::ServiceCidr => service_cidr(key, field).map(Object::ServiceCidr),
        Kind::ServiceOutboundRoute => route::route(key, field).map(Object::Route),
        Kind::EgressPolicy => policy::policy(key, field).map(Object::Policy),
        Kind::AddressPool => pool::pool(key, field).map(Object::Pool),
    }
}

fn namespace(key: &ObjectKey, field: &Field<'_>) -> Read<Namespace> {
    let meta = meta::meta(field)?;
    let egress = meta::egress(&meta, field)?;
    Ok(Namespace { name: key.name.name.clone(), meta, egress })
}

fn service_cidr(key: &ObjectKey, field: &Field<'_>) -> Read<ServiceCidr> {
    let spec = field.require("spec")?.lenient()?;
    Ok(ServiceCidr { name: key.name.name.clone(), cidrs: spec.list("cidrs", ENTRIES_MAX, network::network)? })
}

/// The first of two documents with one identity stays.
fn refuse_duplicates(file: &str, documents: &mut [Document]) {
    let mut seen = BTreeSet::new();
    for document in documents {
        let Some(key) = document.key.clone() else { continue };
        if !seen.insert(key.clone()) && document.object.is_ok() {
            let fault = Fault::invalid("metadata.name", "is defined earlier in the same file", "remove one of the two");
            *document = Place { file, line: document.line }.refused(Some(key), fault);
        }
    }
}

#[cfg(test)]
mod tests;
