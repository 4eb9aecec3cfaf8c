//! Our entry in the configuration of other people's CNI plugins: a directory as a value in, changes out.
//!
//! Guarantees: only our own entry is added, replaced or removed, byte for byte around everything else, so that
//! [`uninstall`] after [`install`] gives back the files as they were; a second run has nothing to change; an entry that
//! somebody wrote by hand is left alone. Leaves out: reading and writing files, and who else writes them.
//!
//! A list (`.conflist`) gets the entry in its `plugins`. A single plugin (`.conf`, `.json`) stays as it is: beside it comes a
//! list of that plugin and ours, under a name that sorts before it. So its owner may rewrite or remove it at any time.

mod document;
mod entry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::model::{Reason, Rejection};

use document::{Document, Fault};
pub use entry::Entry;

/// Files of a directory by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What the names of configuration files end with (`ConfFiles` in `libcni/conf.go`, as containerd and CRI-O call it).
pub const ENDINGS: [&str; 3] = [".conf", ".conflist", ".json"];
/// What is put behind the name of a single plugin's file, instead of its ending. `-` sorts before `.`.
const BESIDE: &str = "-sortie.conflist";

/// What is to be done, in this order, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The file of another CNI that runtimes use: the first that is valid. `None`: there is none yet.
    pub active: Option<String>,
    /// The file in which the entry stands after the changes.
    pub holder: Option<String>,
    /// Changes of files.
    pub changes: Vec<Change>,
    /// Files that cannot be read or may not be changed.
    pub refused: Vec<Rejection>,
}

/// One file, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Name in the directory.
    pub file: String,
    /// What it was when this was decided; `None`: not there.
    pub before: Option<Vec<u8>>,
    /// What it is to be; `None`: not there.
    pub after: Option<String>,
}

/// Whether runtimes look at a file of this name.
#[must_use]
pub fn is_configuration(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Puts the entry where runtimes look, and takes it away from everywhere else.
#[must_use]
pub fn install(files: &Files, entry: &Entry) -> Outcome {
    let mut outcome = Outcome::default();
    let documents = read(files, &mut outcome);
    let Some((active, document)) = documents.iter().find(|(_, document)| !document.is_beside()) else {
        // The plugin beside which we stand is gone, unless its file is only being written.
        if outcome.refused.is_empty() {
            remove(files, &documents, "", &mut outcome);
        }
        return outcome;
    };
    outcome.active = Some((*active).to_owned());
    match target(active, document, entry) {
        Ok((file, _)) if is_taken(files, &documents, (&file, active)) => outcome.refused.push(taken(&file, active)),
        Ok((file, after)) => {
            outcome.change(files, &file, after);
            remove(files, &documents, &file, &mut outcome);
            outcome.holder = Some(file);
        }
        Err(fault) => outcome.refused.push(fault.in_file(active)),
    }
    outcome
}

/// Whether the name of the list beside `active` is somebody else's.
fn is_taken(files: &Files, documents: &[(&str, Document<'_>)], (file, active): (&str, &str)) -> bool {
    let is_ours = || documents.iter().any(|(name, document)| *name == file && document.is_beside());
    file != active && files.contains_key(file) && !is_ours()
}

/// Takes the entry away everywhere. One written by hand is refused: the plugin it names must stay.
#[must_use]
pub fn uninstall(files: &Files) -> Outcome {
    let mut outcome = Outcome::default();
    let documents = read(files, &mut outcome);
    // A broken file that does not name us is none of our business here.
    outcome.refused.retain(|refusal| files.get(&refusal.object).is_some_and(|text| names_us(text)));
    outcome.active = documents.iter().find(|(_, d)| !d.is_beside()).map(|(name, _)| (*name).to_owned());
    for (name, document) in &documents {
        outcome.refused.extend(document.by_hand().map(|fault| fault.in_file(name)));
    }
    remove(files, &documents, "", &mut outcome);
    outcome
}

/// Every readable file in the order of the runtimes; the others are refused.
fn read<'a>(files: &'a Files, outcome: &mut Outcome) -> Vec<(&'a str, Document<'a>)> {
    let mut documents = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| is_configuration(name)) {
        match Document::read(name, text) {
            Ok(document) => documents.push((name.as_str(), document)),
            Err(fault) => outcome.refused.push(fault.in_file(name)),
        }
    }
    documents
}

/// The file that is to hold the entry, and its text.
fn target(active: &str, document: &Document<'_>, entry: &Entry) -> Result<(String, String), Fault> {
    let after = document.with(active, entry)?;
    let is_list = matches!(document, Document::List(_));
    Ok((if is_list { active.to_owned() } else { beside(active) }, after))
}

/// Name of the list beside a single plugin's file.
fn beside(name: &str) -> String {
    let stem = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    format!("{stem}{BESIDE}")
}

/// Takes the entry away from all files but one.
fn remove(files: &Files, documents: &[(&str, Document<'_>)], keep: &str, outcome: &mut Outcome) {
    for (name, document) in documents.iter().filter(|(name, _)| *name != keep) {
        if document.is_beside() {
            let before = files.get(*name).cloned();
            outcome.changes.push(Change { file: (*name).to_owned(), before, after: None });
        } else {
            match document.without() {
                Ok(after) => outcome.change(files, name, after),
                Err(fault) => outcome.refused.push(fault.in_file(name)),
            }
        }
    }
}

impl Outcome {
    fn change(&mut self, files: &Files, file: &str, after: String) {
        let before = files.get(file).cloned();
        if before.as_deref() != Some(after.as_bytes()) {
            self.changes.push(Change { file: file.to_owned(), before, after: Some(after) });
        }
    }
}

impl Fault {
    fn in_file(self, name: &str) -> Rejection {
        let Self { field, message, remedy } = self;
        Rejection { reason: Reason::Invalid, object: name.to_owned(), field, message, remedy: remedy.to_owned() }
    }
}

fn taken(file: &str, active: &str) -> Rejection {
    let message = format!("is not ours, but the list for {active} would have this name");
    Fault::new("file name", message, "rename it").in_file(file)
}

fn names_us(text: &[u8]) -> bool {
    let name = format!("\"{}\"", entry::TYPE);
    text.windows(name.len()).any(|window| window == name.as_bytes())
}
