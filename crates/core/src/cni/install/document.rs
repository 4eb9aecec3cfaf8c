//! One configuration file, read in place: where its plugins begin and end.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::environment::is_identifier;
use super::super::{INPUT_MAX, VERSIONS, is_too_deep};
use super::entry::{Entry, MARK, TYPE};

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) field: String,
    pub(super) message: String,
    pub(super) remedy: &'static str,
}

impl Fault {
    pub(super) fn new(field: &str, message: impl Into<String>, remedy: &'static str) -> Self {
        Self { field: field.to_owned(), message: message.into(), remedy }
    }
}

/// A file that runtimes can read.
#[derive(Debug)]
pub(super) enum Document<'a> {
    List(List<'a>),
    Single(Single<'a>),
}

/// A list of plugins.
#[derive(Debug)]
pub(super) struct List<'a> {
    text: &'a str,
    head: Head<'a>,
    plugins: Vec<Plugin>,
}

/// One plugin.
#[derive(Debug)]
pub(super) struct Single<'a> {
    text: &'a str,
    head: Head<'a>,
}

/// What every file has in common. Keys are case-sensitive and may not repeat.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    cni_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    plugins: Option<Vec<&'a RawValue>>,
    /// Written by [`Single::with`] into the list beside a file.
    #[serde(borrow, rename = "sortie.dev/from")]
    from: Option<Cow<'a, str>>,
}

#[derive(Debug)]
struct Plugin {
    span: Range<usize>,
    whose: Whose,
}

#[derive(Debug)]
enum Whose {
    Foreign,
    ByHand,
    Ours(Map<String, Value>),
}

/// Ending of the name of a list.
const LIST: &str = ".conflist";
const MEND: &str = "mend the file, or the program that writes it";

impl<'a> Document<'a> {
    pub(super) fn read(name: &str, bytes: &'a [u8]) -> Result<Self, Fault> {
        let unreadable = |message: String| Fault::new("content", message, MEND);
        if bytes.len() > INPUT_MAX {
            return Err(unreadable(format!("is longer than {INPUT_MAX} bytes")));
        }
        let text = std::str::from_utf8(bytes).map_err(|e| unreadable(format!("is not UTF-8: {e}")))?;
        if !text.trim_ascii_start().starts_with('{') || is_too_deep(bytes) {
            return Err(unreadable("is no JSON object, or nested too deep".to_owned()));
        }
        let head: Head<'a> = serde_json::from_str(text).map_err(|e| unreadable(format!("is no configuration: {e}")))?;
        match name.ends_with(LIST) {
            true => List::read(text, head).map(Self::List),
            false => Single::read(text, head).map(Self::Single),
        }
    }

    /// Whether we made it.
    pub(super) fn is_beside(&self) -> bool {
        matches!(self, Self::List(list) if list.head.from.is_some())
    }

    /// The text of the file that holds the entry: this one, or the list beside it.
    pub(super) fn with(&self, name: &str, entry: &Entry) -> Result<String, Fault> {
        match self {
            Self::List(list) => list.with(entry),
            Self::Single(single) => single.with(name, entry),
        }
    }

    /// The text without entries of the installer.
    pub(super) fn without(&self) -> Result<String, Fault> {
        match self {
            Self::List(list) => list.without(),
            Self::Single(single) => Ok(single.text.to_owned()),
        }
    }

    /// An entry of ours that the installer did not write.
    pub(super) fn by_hand(&self) -> Option<Fault> {
        let Self::List(list) = self else { return None };
        let at = list.plugins.iter().position(|plugin| matches!(plugin.whose, Whose::ByHand))?;
        let field = format!("plugins[{at}]");
        Some(Fault::new(&field, "is an entry of sortie that was written by hand", "remove it by hand as well"))
    }
}

impl<'a> List<'a> {
    fn read(text: &'a str, head: Head<'a>) -> Result<Self, Fault> {
        if head.name.as_deref().unwrap_or_default().is_empty() {
            return Err(Fault::new("name", "is required", MEND));
        }
        let raw = head.plugins.as_deref().unwrap_or_default();
        if raw.is_empty() {
            return Err(Fault::new("plugins", "is required and must not be empty", MEND));
        }
        let plugins = raw.iter().enumerate().map(|(at, raw)| Plugin::read(text, at, raw)).collect::<Result<_, _>>()?;
        Ok(Self { text, head, plugins })
    }

    fn ours(&self) -> impl Iterator<Item = (usize, &Map<String, Value>)> {
        let ours = |(at, plugin): (usize, &'_ Plugin)| matches!(plugin.whose, Whose::Ours(_)).then_some(at);
        let places = self.plugins.iter().enumerate().filter_map(ours);
        places.filter_map(|at| if let Whose::Ours(map) = &self.plugins[at].whose { Some((at, map)) } else { None })
    }

    fn with(&self, entry: &Entry) -> Result<String, Fault> {
        self.head.fits()?;
        if self.plugins.iter().all(|plugin| matches!(plugin.whose, Whose::Ours(_))) {
            return Err(alone());
        }
        if self.plugins.iter().any(|plugin| matches!(plugin.whose, Whose::ByHand)) {
            return self.without();
        }
        let ours: Vec<_> = self.ours().collect();
        match ours[..] {
            [] => Ok(self.appended(entry)),
            [(_, map)] if *map == entry.0 => Ok(self.text.to_owned()),
            [(at, _)] => Ok(spliced(self.text, &self.plugins[at].span, &rendered(entry))),
            _ => reread(&self.without()?)?.with(entry),
        }
    }

    /// Behind the last plugin, set off from it as it is from what stands before.
    fn appended(&self, entry: &Entry) -> String {
        let Some(last) = self.plugins.last() else { return self.text.to_owned() };
        let before = &self.text[..last.span.start];
        let blank = &before[before.trim_ascii_end().len()..];
        let end = last.span.end;
        spliced(self.text, &(end..end), &format!(",{blank}{}", rendered(entry)))
    }

    fn without(&self) -> Result<String, Fault> {
        let Some((at, _)) = self.ours().next() else { return Ok(self.text.to_owned()) };
        let span = &self.plugins[at].span;
        let cut = match (at.checked_sub(1), self.plugins.get(at + 1)) {
            (Some(previous), _) => self.plugins[previous].span.end..span.end,
            (None, Some(next)) => span.start..next.span.start,
            (None, None) => return Err(alone()),
        };
        reread(&spliced(self.text, &cut, ""))?.without()
    }
}

impl<'a> Single<'a> {
    fn read(text: &'a str, head: Head<'a>) -> Result<Self, Fault> {
        match head.kind.as_deref() {
            None | Some("") => Err(Fault::new("type", "is required", MEND)),
            Some(TYPE) => {
                Err(Fault::new("type", "is sortie, which cannot be the only plugin", "name it in a .conflist"))
            }
            Some(_) => Ok(Self { text, head }),
        }
    }

    /// The list of this plugin and ours. Unknown keys of a list are left out by runtimes.
    fn with(&self, file: &str, entry: &Entry) -> Result<String, Fault> {
        self.head.fits()?;
        let quoted = |text: &str| Value::from(text).to_string();
        let [version, name] =
            [&self.head.cni_version, &self.head.name].map(|text| quoted(text.as_deref().unwrap_or_default()));
        let (plugin, entry, file) = (self.text.trim_ascii(), rendered(entry), quoted(file));
        Ok(format!(
            "{{\n  \"cniVersion\": {version},\n  \"name\": {name},\n  \"sortie.dev/from\": {file},\n  \
             \"plugins\": [\n{plugin},\n{entry}\n  ]\n}}\n"
        ))
    }
}

impl Head<'_> {
    /// Whether our plugin works in this configuration: one that it refuses would stop every pod.
    fn fits(&self) -> Result<(), Fault> {
        let version = self.cni_version.as_deref().unwrap_or("0.1.0");
        if !VERSIONS.contains(&version) {
            let message = format!("is {version}, and sortie speaks {}", VERSIONS.join(", "));
            return Err(Fault::new("cniVersion", message, "let the CNI of this node use one of these"));
        }
        if !is_identifier(self.name.as_deref().unwrap_or_default()) {
            let message = "is required and must match ^[a-zA-Z0-9][a-zA-Z0-9_.\\-]*$";
            return Err(Fault::new("name", message, "name the network so"));
        }
        Ok(())
    }
}

impl Plugin {
    fn read(text: &str, at: usize, raw: &RawValue) -> Result<Self, Fault> {
        let field = format!("plugins[{at}]");
        let map: Map<String, Value> =
            serde_json::from_str(raw.get()).map_err(|e| Fault::new(&field, format!("is no plugin: {e}"), MEND))?;
        let whose = match map.get("type").and_then(Value::as_str) {
            None | Some("") => return Err(Fault::new(&format!("{field}.type"), "is required", MEND)),
            Some(TYPE) if map.contains_key(MARK) => Whose::Ours(map),
            Some(TYPE) => Whose::ByHand,
            Some(_) => Whose::Foreign,
        };
        // The raw value borrows from the text.
        let start = raw.get().as_ptr() as usize - text.as_ptr() as usize;
        Ok(Self { span: start..start + raw.get().len(), whose })
    }
}

fn reread(text: &str) -> Result<List<'_>, Fault> {
    match Document::read(LIST, text.as_bytes())? {
        Document::List(list) => Ok(list),
        Document::Single(_) => Err(Fault::new("content", "is no list", MEND)),
    }
}

fn alone() -> Fault {
    Fault::new("plugins", "holds nothing but our entry", "remove the file, or put the plugin back that it followed")
}

fn rendered(entry: &Entry) -> String {
    Value::Object(entry.0.clone()).to_string()
}

fn spliced(text: &str, span: &Range<usize>, new: &str) -> String {
    format!("{}{new}{}", &text[..span.start], &text[span.end..])
}
