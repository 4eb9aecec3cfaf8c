//! Specs that the API server judges too (`tests/tests/apiserver_definitions.rs`).

use crate::manifest::parse;

const SPECS: &str = include_str!("../../../testdata/specs.txt");

#[test]
fn specs_are_judged_as_by_the_api_server() {
    let lines = SPECS.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let mut words = line.splitn(3, ' ');
        let (sign, kind, spec) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let text = format!("apiVersion: sortie.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n");
        let documents = parse("specs.txt", &text);
        assert_eq!(documents.len(), 1, "{line}");
        match &documents[0].object {
            Ok(_) => assert_eq!(sign, "+", "{line}"),
            Err(refusal) => assert_eq!(sign, "-", "{line}: {refusal}"),
        }
    }
}
