use std::collections::BTreeSet;

use super::{allow_list, satisfied};

fn allowed() -> BTreeSet<String> {
    allow_list("[licenses]\nallow = [\n  \"Apache-2.0\", # ours\n  \"MIT\",\n]\n[bans]\nallow = [\"x\"]\n")
}

#[test]
fn the_list_is_read_from_its_own_section() {
    assert_eq!(allowed().into_iter().collect::<Vec<_>>(), ["Apache-2.0", "MIT"]);
}

#[test]
fn one_allowed_alternative_is_enough() {
    assert!(satisfied("GPL-3.0 OR MIT", &allowed()));
    assert!(satisfied("MIT/Apache-2.0", &allowed()));
    assert!(satisfied("Apache-2.0 WITH LLVM-exception OR GPL-2.0", &allowed()));
}

#[test]
fn every_part_of_a_conjunction_counts() {
    assert!(!satisfied("MIT AND GPL-3.0", &allowed()));
    assert!(!satisfied("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed()));
    assert!(satisfied("(MIT OR GPL-3.0) AND Apache-2.0", &allowed()));
}

#[test]
fn broken_expressions_are_refused() {
    assert!(!satisfied("", &allowed()));
    assert!(!satisfied("(MIT", &allowed()));
    assert!(!satisfied("MIT Apache-2.0", &allowed()));
    assert!(!satisfied("GPL-3.0", &allowed()));
}
