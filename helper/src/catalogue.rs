//! The last good state of every object of the manifest folder, or of the Kubernetes API.
//!
//! Guarantees: an edit that is refused changes nothing but the list of refusals; a file that cannot be read
//! as YAML keeps every object it held; an object that is gone from a readable file, or from the API, is gone.
//! Leaves out: reading the folder, and watching the API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sortie_core::manifest::{self, Document};
use sortie_core::model::{Kind, Object, ObjectKey, Pod, Reason, Rejection};
use sortie_core::world::World;

/// What a file of the folder holds: its text, or why it could not be read.
pub(crate) type Files = BTreeMap<String, Result<String, String>>;

/// What is refused, and which object it is if that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) key: Option<ObjectKey>,
    pub(crate) rejection: Rejection,
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self { key: None, rejection }
    }
}

/// What the Kubernetes API holds.
#[derive(Debug)]
pub(crate) struct Holding<'a> {
    /// Its objects; `None` while not all of them are known.
    pub(crate) objects: Option<&'a BTreeMap<ObjectKey, Document>>,
    /// What is the matter with it.
    pub(crate) troubles: Vec<Rejection>,
}

/// Where objects of the API are, in place of a file.
const API: &str = "kubernetes";

/// One object in force, as it is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    key: ObjectKey,
    file: String,
    object: Object,
}

impl Kept {
    /// A pod whose object is gone while it still runs.
    pub(crate) fn outliving(pod: Pod) -> Self {
        let key = ObjectKey { kind: Kind::Pod, name: pod.name.clone() };
        Self { key, file: API.to_owned(), object: Object::Pod(pod) }
    }

    /// The object, if it is a pod.
    pub(crate) fn into_pod(self) -> Option<Pod> {
        if let Object::Pod(pod) = self.object { Some(pod) } else { None }
    }
}

/// Objects with the file they came from.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    held: Held,
    parsed: BTreeMap<String, (String, Vec<Document>)>,
    refused: Vec<Refused>,
    /// The folder was read at least once.
    updated: bool,
}

impl Catalogue {
    /// A catalogue that knows what was in force before: only what the folder still names and spoils is used.
    pub(crate) fn remembering(kept: Vec<Kept>) -> Self {
        Self { held: kept.into_iter().map(|k| (k.key, (k.file, k.object))).collect(), ..Self::default() }
    }

    /// What to keep for the next start.
    pub(crate) fn kept(&self) -> Vec<Kept> {
        let kept = |(key, (file, object)): (&ObjectKey, &(String, Object))| Kept {
            key: key.clone(),
            file: file.clone(),
            object: object.clone(),
        };
        self.held.iter().map(kept).collect()
    }

    /// Takes in the folder as it is now; whether anything is different. A folder that cannot be read keeps
    /// all it held.
    pub(crate) fn update(&mut self, files: Result<Files, String>) -> bool {
        let next = match files {
            Ok(files) => self.collect(&files),
            Err(error) => Collector { held: self.held.clone(), refused: vec![unreadable("folder", &error).into()] },
        };
        self.take(next)
    }

    /// Takes in the API as it is now; whether anything is different. While not all objects are known,
    /// everything stays that was.
    pub(crate) fn update_from_api(&mut self, holding: Holding<'_>) -> bool {
        let mut next = Collector::default();
        match holding.objects {
            Some(objects) => next.read(API, objects.values(), &self.held),
            None => next.held = self.held.clone(),
        }
        next.refused.extend(holding.troubles.into_iter().map(Refused::from));
        self.take(next)
    }

    fn take(&mut self, next: Collector) -> bool {
        let changed = next.held != self.held || next.refused != self.refused || !self.updated;
        (self.held, self.refused, self.updated) = (next.held, next.refused, true);
        changed
    }

    fn collect(&mut self, files: &Files) -> Collector {
        self.parsed.retain(|name, _| files.contains_key(name));
        for (name, text) in files {
            let Ok(text) = text else { continue };
            if self.parsed.get(name).is_none_or(|(old, _)| old != text) {
                self.parsed.insert(name.clone(), (text.clone(), manifest::parse(name, text)));
            }
        }
        let mut next = Collector::default();
        for (name, text) in files {
            match (text, self.parsed.get(name)) {
                (Ok(_), Some((_, documents))) => next.read(name, documents.iter(), &self.held),
                (Err(error), _) => next.unreadable(name, error, &self.held),
                (Ok(_), None) => {}
            }
        }
        next
    }

    /// The world that the accepted objects make.
    pub(crate) fn world(&self) -> World {
        World::of(self.held.values().map(|(_, object)| object.clone()))
    }

    /// Whether nothing is known, not even from before.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What is refused at present.
    pub(crate) fn refused(&self) -> &[Refused] {
        &self.refused
    }
}

type Held = BTreeMap<ObjectKey, (String, Object)>;

#[derive(Default)]
struct Collector {
    held: Held,
    refused: Vec<Refused>,
}

impl Collector {
    fn read<'a>(&mut self, file: &str, documents: impl Iterator<Item = &'a Document> + Clone, before: &Held) {
        for document in documents.clone() {
            match (&document.object, &document.key) {
                (Ok(object), Some(key)) => self.hold(file, key, object),
                (Ok(_), None) => {}
                (Err(refusal), key) => {
                    self.refused.push(Refused { key: key.clone(), rejection: refusal.clone() });
                    let kept = key.as_ref().and_then(|key| Some((key, before.get(key)?)));
                    if let Some((key, (_, object))) = kept.filter(|(_, (from, _))| from == file) {
                        self.hold(file, key, object);
                    }
                }
            }
        }
        if documents.into_iter().any(|d| d.key.is_none() && d.object.is_err()) {
            self.keep_all(file, before);
        }
    }

    fn unreadable(&mut self, file: &str, error: &str, before: &Held) {
        self.refused.push(unreadable(file, error).into());
        self.keep_all(file, before);
    }

    fn keep_all(&mut self, file: &str, before: &Held) {
        for (key, (from, object)) in before {
            if from == file && !self.held.contains_key(key) {
                self.held.insert(key.clone(), (from.clone(), object.clone()));
            }
        }
    }

    /// Of two files with one object the first by name wins.
    fn hold(&mut self, file: &str, key: &ObjectKey, object: &Object) {
        match self.held.get(key) {
            None => drop(self.held.insert(key.clone(), (file.to_owned(), object.clone()))),
            Some((first, _)) => {
                let rejection = Rejection {
                    reason: Reason::Conflicted,
                    object: format!("{file}: {key}"),
                    field: "metadata.name".to_owned(),
                    message: format!("is already defined in {first}"),
                    remedy: "keep one of the two".to_owned(),
                };
                self.refused.push(Refused { key: Some(key.clone()), rejection });
            }
        }
    }
}

fn unreadable(object: &str, error: &str) -> Rejection {
    Rejection {
        reason: Reason::Invalid,
        object: object.to_owned(),
        field: "file".to_owned(),
        message: format!("cannot be read: {error}"),
        remedy: "make it readable text; what it held before stays in force".to_owned(),
    }
}

#[cfg(test)]
mod tests;
