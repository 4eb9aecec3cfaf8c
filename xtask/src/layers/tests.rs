use std::collections::{BTreeMap, BTreeSet};

use super::{Graph, Violation, spoken, violations};

fn edges(rows: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
    rows.iter().map(|(from, to)| ((*from).to_owned(), to.iter().map(|name| (*name).to_owned()).collect())).collect()
}

fn messages(found: &[Violation]) -> Vec<&str> {
    found.iter().map(|Violation(message)| message.as_str()).collect()
}

#[test]
fn the_intended_edges_are_allowed() {
    let members =
        edges(&[("sortie-core", &[]), ("sortie-ipc", &["sortie-core"]), ("sortie", &["sortie-ipc", "sortie-kernel"])]);
    let linked = edges(&[("sortie", &["sortie", "serde_json", "netlink-sys", "nix"])]);
    assert_eq!(violations(&Graph { members, linked }), []);
}

#[test]
fn an_edge_against_the_direction_is_found() {
    let members = edges(&[("sortie-core", &["sortie-ipc"]), ("sortie", &["sortie-helper"])]);
    let found = violations(&Graph { members, ..Graph::default() });
    assert_eq!(messages(&found), ["sortie may not need sortie-helper", "sortie-core may not need sortie-ipc"]);
}

#[test]
fn an_unknown_member_may_need_nothing() {
    let members = edges(&[("newcomer", &["sortie-core"])]);
    assert_eq!(messages(&violations(&Graph { members, ..Graph::default() })), ["newcomer may not need sortie-core"]);
}

#[test]
fn tokio_in_the_plugin_is_found_however_deep_it_sits() {
    let linked = edges(&[("sortie", &["sortie", "serde", "tokio"])]);
    assert_eq!(messages(&violations(&Graph { linked, ..Graph::default() })), ["sortie may not link tokio"]);
}

#[test]
fn a_pattern_forbids_a_whole_family_of_crates() {
    let linked = edges(&[("sortie-core", &["netlink-packet-route", "serde"])]);
    let found = violations(&Graph { linked, ..Graph::default() });
    assert_eq!(messages(&found), ["sortie-core may not link netlink-packet-route"]);
}

#[test]
fn a_forbidden_word_is_found_with_its_line() {
    let found = spoken("helper/src/folder.rs", "use std::io;\nuse sortie_kernel::Platform;\n", &["sortie_kernel"]);
    assert_eq!(messages(&found), ["helper/src/folder.rs:2 may not mention sortie_kernel"]);
}
