//! Reading of JSON values with knowledge of where they stand.
//!
//! Guarantees: every refusal names the path of the field, what is wrong and what to do. Leaves out: which
//! fields an object has, which [`crate::manifest`] and [`crate::annotation`] know.

pub(crate) mod egress;
pub(crate) mod name;
pub(crate) mod network;
pub(crate) mod ports;
pub(crate) mod selector;

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::Value;

use crate::model::{Reason, Rejection};

/// Most networks in one list.
pub(crate) const NETWORKS_MAX: usize = 256;
/// Most ports, and most entries of other lists.
pub(crate) const ENTRIES_MAX: usize = 64;

/// Why a field is refused; a [`Rejection`] that does not know its object yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    pub(crate) field: String,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

impl Fault {
    /// A malformed field.
    pub(crate) fn invalid(field: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (message, remedy) = (message.into(), remedy.into());
        Self { reason: Reason::Invalid, field: field.to_owned(), message, remedy }
    }

    /// The refusal of `object`.
    pub(crate) fn of(self, object: &str) -> Rejection {
        let Self { reason, field, message, remedy } = self;
        Rejection { reason, object: object.to_owned(), field, message, remedy }
    }
}

/// What reading gives.
pub(crate) type Read<T> = Result<T, Fault>;

/// A value and its path.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    json: &'a Value,
    path: String,
}

impl<'a> Field<'a> {
    /// The value that stands at `path`; the path is empty for a whole document.
    pub(crate) fn new(json: &'a Value, path: impl Into<String>) -> Self {
        Self { json, path: path.into() }
    }

    /// Where the value stands.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// A refusal of this field.
    pub(crate) fn fault(&self, message: impl Into<String>, remedy: impl Into<String>) -> Fault {
        let field = if self.path.is_empty() { "document" } else { &self.path };
        Fault::invalid(field, message, remedy)
    }

    /// This field if it is an object; other fields than those read are nobody's business.
    pub(crate) fn lenient(self) -> Read<Self> {
        if self.json.is_object() { Ok(self) } else { Err(self.mistyped("an object")) }
    }

    /// This field if it is an object with no other fields than `known`.
    pub(crate) fn strict(self, known: &[&str]) -> Read<Self> {
        let object = self.lenient()?;
        match object.entries().find(|(name, _)| !known.contains(name)) {
            None => Ok(object),
            Some((_, unknown)) => {
                Err(unknown.fault("is not a known field", format!("remove it or use one of {}", known.join(", "))))
            }
        }
    }

    /// All fields of an object; none of anything else.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> + use<'a> {
        let path = self.path.clone();
        let pairs = self.json.as_object().into_iter().flatten();
        pairs.map(move |(name, json)| (name.as_str(), Field::new(json, below(&path, name))))
    }

    /// A field of an object; absent is the same as null.
    pub(crate) fn get(&self, name: &str) -> Option<Field<'a>> {
        let json = self.json.get(name).filter(|json| !json.is_null())?;
        Some(Field::new(json, below(&self.path, name)))
    }

    /// A field that must be there.
    pub(crate) fn require(&self, name: &str) -> Read<Field<'a>> {
        self.get(name).ok_or_else(|| Fault::invalid(&below(&self.path, name), "is missing", "add it"))
    }

    /// A field that may be absent.
    pub(crate) fn optional<T>(&self, name: &str, read: impl Fn(&Field<'a>) -> Read<T>) -> Read<Option<T>> {
        self.get(name).map(|field| read(&field)).transpose()
    }

    /// A list of at most `most` entries; absent is the same as empty.
    pub(crate) fn list<T>(&self, name: &str, most: usize, read: impl Fn(&Field<'a>) -> Read<T>) -> Read<Vec<T>> {
        let Some(field) = self.get(name) else { return Ok(Vec::new()) };
        let items = field.items()?;
        if items.len() > most {
            let message = format!("has {} entries, more than {most}", items.len());
            return Err(field.fault(message, "split the object"));
        }
        items.iter().map(read).collect()
    }

    /// The entries of a list.
    pub(crate) fn items(&self) -> Read<Vec<Field<'a>>> {
        let items = self.json.as_array().ok_or_else(|| self.mistyped("a list"))?;
        Ok(items.iter().enumerate().map(|(i, json)| Field::new(json, format!("{}[{i}]", self.path))).collect())
    }

    /// Text, if it is text.
    pub(crate) fn as_text(&self) -> Option<&'a str> {
        self.json.as_str()
    }

    /// Text.
    pub(crate) fn text(&self) -> Read<&'a str> {
        self.json.as_str().ok_or_else(|| self.mistyped("text"))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Read<bool> {
        self.json.as_bool().ok_or_else(|| self.mistyped("true or false"))
    }

    /// Whether it is a number rather than text.
    pub(crate) fn is_number(&self) -> bool {
        self.json.is_number()
    }

    /// A whole number of the range.
    pub(crate) fn number<T>(&self, range: RangeInclusive<T>) -> Read<T>
    where
        T: TryFrom<u64> + PartialOrd + Display,
    {
        if !self.json.is_number() {
            return Err(self.mistyped("a number"));
        }
        let found = self.json.as_u64().and_then(|n| T::try_from(n).ok()).filter(|n| range.contains(n));
        let allowed = || format!("use a whole number from {} to {}", range.start(), range.end());
        found.ok_or_else(|| self.fault(format!("{} is out of range", self.json), allowed()))
    }

    /// One of several words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Read<T> {
        let text = self.text()?;
        let words = || choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.ok_or_else(|| self.fault(format!("{text:?} is not known"), format!("use one of {}", words())))
    }

    fn mistyped(&self, wanted: &str) -> Fault {
        let found = match self.json {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        let remedy =
            if wanted == "text" { "write text; put numbers in quotes".to_owned() } else { format!("write {wanted}") };
        self.fault(format!("is {found}, not {wanted}"), remedy)
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
