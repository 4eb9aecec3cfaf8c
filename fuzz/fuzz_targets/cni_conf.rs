//! Any file as configuration of another CNI: the entry comes and goes without a trace, and never twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sortie_core::cni::install::{Entry, Files, Outcome, install, uninstall};

fn applied(files: &Files, outcome: &Outcome) -> Files {
    let mut files = files.clone();
    for change in &outcome.changes {
        assert_eq!(files.get(&change.file), change.before.as_ref(), "a change starts from what is there");
        match &change.after {
            Some(text) => files.insert(change.file.clone(), text.clone().into_bytes()),
            None => files.remove(&change.file),
        };
    }
    files
}

fuzz_target!(|text: &[u8]| {
    let entry = Entry::new(serde_json::Map::new()).unwrap_or_else(|refused| panic!("{refused}"));
    for name in ["10.conflist", "10.conf"] {
        let before = Files::from([(name.to_owned(), text.to_vec())]);
        let outcome = install(&before, &entry);
        let with = applied(&before, &outcome);
        let again = install(&with, &entry);
        assert!(again.changes.is_empty(), "a second run changes something");
        assert_eq!(again.holder, outcome.holder, "the second run is judged otherwise");
        if uninstall(&before).changes.is_empty() {
            assert_eq!(applied(&with, &uninstall(&with)), before, "uninstall does not give the file back");
        }
    }
});
