//! Documents of a file: lines, lists, identities.

use proptest::prelude::*;

use super::{accepted, only, ours, parse, refused};
use crate::model::{Kind, Object, ObjectName};

const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n";

#[test]
fn an_empty_file_holds_nothing() {
    for text in ["", "\n", "---\n", "---\n---\n# nothing\n", "\u{feff}", "--- # empty\n...\n", "%YAML 1.2\n---\n"] {
        assert_eq!(parse("m.yaml", text), [], "{text:?}");
    }
}

#[test]
fn documents_know_the_line_they_start_on() {
    let text = format!(
        "# head\n\n{NODE}---\n# second\n{}--- # third\r\n{}",
        NODE.replace("n1", "n2"),
        NODE.replace("n1", "n3")
    );
    let found: Vec<_> = parse("m.yaml", &text).into_iter().map(|d| (d.line, d.key.unwrap().name.name)).collect();
    assert_eq!(found, [(3, "n1".to_owned()), (8, "n2".to_owned()), (12, "n3".to_owned())]);
}

#[test]
fn a_broken_document_does_not_lose_the_others() {
    let text = format!("{NODE}---\nkind: [\n---\n{}", NODE.replace("n1", "n2"));
    let found = parse("m.yaml", &text);
    assert_eq!(found.iter().map(|d| d.object.is_ok()).collect::<Vec<_>>(), [true, false, true]);
    let broken = found[1].object.clone().unwrap_err();
    assert_eq!((found[1].key.clone(), found[1].line), (None, 5));
    assert!(broken.object.starts_with("m.yaml:"), "{broken}");
    let line: usize = broken.object["m.yaml:".len()..].parse().unwrap();
    assert!((5..=6).contains(&line), "{broken}");
    assert!(!broken.message.contains("line 1 ") && !broken.remedy.is_empty(), "{broken}");
}

#[test]
fn lines_of_errors_are_lines_of_the_file() {
    let broken = refused("\n\n\napiVersion: v1\nkind: Node\nmetadata: {name: n1\nspec: }}\n");
    let line: usize = broken.object["m.yaml:".len()..].parse().unwrap();
    assert!((6..=8).contains(&line), "{broken}");
    let later = parse("m.yaml", &format!("{NODE}---\n{}", "a: b\n  c: d\n"))[1].object.clone().unwrap_err();
    assert_eq!(later.object, "m.yaml:6", "{later}");
    assert!(later.message.contains("line 6"), "{later}");
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let found = refused(&format!("{NODE}kind: Pod\n"));
    assert!(found.message.contains("duplicate"), "{found}");
}

#[test]
fn tags_and_keys_that_are_no_text_are_refused() {
    for text in ["a: !x 1", "1: a", "? [a]\n: b", "a: .nan"] {
        assert_eq!(refused(text).field, "document", "{text}");
    }
}

#[test]
fn json_and_merge_keys_are_read() {
    assert!(matches!(accepted(r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}"#), Object::Node(_)));
    let merged = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  labels: &l {a: b}\n  annotations: {<<: *l}\n";
    assert!(matches!(accepted(merged), Object::Pod(_)));
}

#[test]
fn what_is_no_object_is_refused_without_key() {
    for text in
        ["hello", "[1]", "kind: Node", "apiVersion: v1", "apiVersion: v1\nkind: [Node]", "apiVersion: v1\nkind: ''"]
    {
        assert_eq!(only(text).key, None, "{text}");
        let _ = refused(text);
    }
}

#[test]
fn kinds_that_we_do_not_read_are_left_out() {
    for (version, kind) in [
        ("v1", "ConfigMap"),
        ("apps/v1", "Deployment"),
        ("serving.knative.dev/v1", "Service"),
        ("v1", "ConfigMapList"),
        ("policy.example.com/v1", "EgressPolicy"),
        ("apps/v1", "List"),
    ] {
        assert_eq!(
            parse("m.yaml", &format!("apiVersion: {version}\nkind: {kind}\nitems: [1]\n")),
            [],
            "{version} {kind}"
        );
    }
}

#[test]
fn unknown_kinds_and_versions_of_our_group_are_refused() {
    let unknown = only("apiVersion: sortie.dev/v1alpha1\nkind: EgressPolicies\nmetadata: {name: a}\n");
    assert_eq!((unknown.key, unknown.object.unwrap_err().field.as_str()), (None, "kind"));
    for version in ["sortie.dev/v1", "sortie.dev", "v1", "sortie.dev/"] {
        let found = only(&format!("apiVersion: {version}\nkind: AddressPool\nmetadata: {{name: a}}\nspec: {{}}\n"));
        assert_eq!(found.key.unwrap().kind, Kind::AddressPool);
        assert_eq!(found.object.unwrap_err().field, "apiVersion", "{version}");
    }
}

#[test]
fn names_are_needed_and_checked() {
    for (metadata, field) in [
        ("{}", "metadata.name"),
        ("{name: 5}", "metadata.name"),
        ("{name: A}", "metadata.name"),
        ("{name: ''}", "metadata.name"),
        ("{name: a/b}", "metadata.name"),
        ("{name: a, namespace: ../x}", "metadata.namespace"),
        ("[]", "metadata"),
        ("", "metadata"),
    ] {
        let found = only(&format!("apiVersion: v1\nkind: Pod\nmetadata: {metadata}\n"));
        assert_eq!((found.key, found.object.unwrap_err().field.as_str()), (None, field), "{metadata}");
    }
}

#[test]
fn a_refused_object_still_has_its_key_and_place() {
    let found = only("\napiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: core}\nspec: {hostNetwork: 1}\n");
    let refused = found.object.unwrap_err();
    assert_eq!(found.key.unwrap().name, ObjectName { namespace: "core".to_owned(), name: "p".to_owned() });
    assert_eq!((refused.object.as_str(), refused.field.as_str()), ("m.yaml:2 Pod core/p", "spec.hostNetwork"));
}

#[test]
fn the_namespace_is_default_for_namespaced_kinds_only() {
    let namespace =
        |kind| only(&format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: a}}\n")).key.unwrap().name.namespace;
    assert_eq!((namespace("Pod"), namespace("Service")), ("default".to_owned(), "default".to_owned()));
    assert_eq!((namespace("Node"), namespace("Namespace")), (String::new(), String::new()));
    let policy = only(&ours("EgressPolicy", "podSelector: {}, route: a")).key.unwrap();
    assert_eq!(policy.name.namespace, "default");
}

#[test]
fn lists_are_opened() {
    let item = |name: &str| format!("- apiVersion: v1\n  kind: Node\n  metadata: {{name: {name}}}\n");
    let text = format!(
        "apiVersion: v1\nkind: List\nitems:\n{}{}- 5\n- apiVersion: v1\n  kind: Secret\n",
        item("n1"),
        item("n2")
    );
    let found = parse("m.yaml", &text);
    assert_eq!(found.iter().map(|d| d.object.is_ok()).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(found[2].object.clone().unwrap_err().field, "items[2]");
    let typed =
        parse("m.yaml", "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: p}\n- metadata: {name: 1}\n");
    assert_eq!(typed[0].key.as_ref().unwrap().kind, Kind::Pod);
    assert_eq!(typed[1].object.clone().unwrap_err().field, "items[1].metadata.name");
    let annotated = "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: p, annotations: {sortie.dev/x: a}}\n";
    assert_eq!(refused(annotated).field, "items[0].metadata.annotations.sortie.dev/x");
}

#[test]
fn an_empty_list_holds_nothing_and_a_wrong_one_is_refused() {
    assert_eq!(parse("m.yaml", "apiVersion: v1\nkind: List\nitems: []\n"), []);
    assert_eq!(parse("m.yaml", "apiVersion: v1\nkind: List\n"), []);
    assert_eq!(refused("apiVersion: v1\nkind: List\nitems: {}\n").field, "items");
}

#[test]
fn the_second_of_two_equal_names_is_refused() {
    let found = parse("m.yaml", &format!("{NODE}---\n{NODE}"));
    assert!(found[0].object.is_ok());
    let second = found[1].object.clone().unwrap_err();
    assert_eq!((second.object.as_str(), second.field.as_str()), ("m.yaml:5 Node n1", "metadata.name"));
    assert!(found[1].key.is_some());
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = parse("m.yaml", &text);
    }

    #[test]
    fn arbitrary_lines_of_manifests_never_panic(lines in prop::collection::vec(prop::sample::select(vec![
        "---", "...", "%YAML 1.2", "apiVersion: v1", "apiVersion: sortie.dev/v1alpha1", "kind: Pod", "kind: List", "items:",
        "kind: ServiceOutboundRoute", "metadata: {name: a}", "spec:", "  nextHops: [{gateway: 1.2.3.4}]", "- a", "\t", "&a", "*a",
        "<<: {}", "kind: AddressPool", "  addresses: [a-b]", "? ", "!!x y", "# c", "spec: {podSelector: {}}", "\r",
    ]), 0..24)) {
        let text = lines.join("\n");
        for document in parse("m.yaml", &text) {
            prop_assert!((1..=lines.len()).contains(&document.line));
        }
    }

    #[test]
    fn arbitrary_values_of_fields_never_panic(
        kind in prop::sample::select(vec!["ServiceOutboundRoute", "EgressPolicy", "AddressPool"]),
        field in prop::sample::select(vec![
            "nextHops", "destinations", "health", "tableId", "podSelector", "source", "ports", "addresses", "devices",
        ]),
        value in "[-a-z0-9:./\\[\\]{} ,\"]{0,24}",
    ) {
        let _ = parse("m.yaml", &ours(kind, &format!("{field}: {value}, allowedNamespaces: {{from: All}}")));
    }
}
