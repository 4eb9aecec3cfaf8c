use super::{claimed, foreign_priorities, links, make_targets, mentions, unknown_commands};

#[test]
fn relative_links_are_followed_and_web_addresses_are_not() {
    let text = "see [a](docs/a.md#part), [b](https://example.org/b) and [c](#here)";
    assert_eq!(links(text).collect::<Vec<_>>(), ["docs/a.md"]);
}

#[test]
fn a_command_that_does_not_exist_is_found_in_code_and_only_there() {
    let text = "make sure; run `make test` or `make tset`\n```\n$ cargo xtask dist\n$ cargo xtask dits\n```\n";
    assert_eq!(unknown_commands(text, &["test".to_owned()]), ["cargo xtask dits", "make tset"]);
}

#[test]
fn a_priority_in_our_range_must_be_one_of_ours() {
    assert_eq!(foreign_priorities("1290, 1300 and 1399; 1301. 0x1302 1.1303 table 10000"), [1301]);
}

#[test]
fn numbers_are_found_as_whole_words() {
    assert!(mentions("protocol `155`.", "155"));
    assert!(!mentions("1550", "155"));
}

#[test]
fn the_list_of_claims_holds_marks_ranges_and_names() {
    let claimed = claimed();
    for wanted in ["0x000fff00", "10000-10999", "inet sortie", "155"] {
        assert!(claimed.iter().any(|claim| claim == wanted), "{wanted} not in {claimed:?}");
    }
}

#[test]
fn make_targets_are_read() {
    assert_eq!(make_targets(".PHONY: a b\nX := 1\ndemo test: setup\n\t@echo: hi\n"), ["demo", "test"]);
}
