//! Any text is read as manifests without a panic, in the same way each time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sortie_core::manifest;

fuzz_target!(|text: &str| {
    let documents = manifest::parse("fuzz.yaml", text);
    assert_eq!(documents, manifest::parse("fuzz.yaml", text), "two readings differ");
    for document in &documents {
        assert!(document.line >= 1, "lines count from 1");
        match &document.object {
            Ok(_) => assert!(document.key.is_some(), "an accepted object has a key"),
            Err(refusal) => assert!(!refusal.remedy.is_empty(), "a refusal has a remedy"),
        }
    }
});
