use super::*;

fn namespace(name: &str, label: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels: {{v: \"{label}\"}}\n")
}

/// A document whose key can be read and whose content is refused.
fn spoilt(name: &str) -> String {
    format!(
        "apiVersion: sortie.dev/v1alpha1\nkind: ServiceOutboundRoute\nmetadata: {{name: {name}}}\nspec: {{nextHops: 7}}\n"
    )
}

fn route(name: &str, gateway: &str) -> String {
    format!(
        "apiVersion: sortie.dev/v1alpha1\nkind: ServiceOutboundRoute\nmetadata: {{name: {name}}}\nspec:\n  nextHops: [{{gateway: {gateway}, device: eth1}}]\n  allowedNamespaces: {{from: All}}\n"
    )
}

#[derive(Default)]
struct Folder {
    files: Files,
    catalogue: Catalogue,
}

impl Folder {
    fn write(&mut self, name: &str, text: impl Into<String>) -> bool {
        self.files.insert(name.to_owned(), Ok(text.into()));
        self.catalogue.update(Ok(self.files.clone()))
    }

    fn remove(&mut self, name: &str) {
        self.files.remove(name);
        self.catalogue.update(Ok(self.files.clone()));
    }

    fn label(&self, name: &str) -> Option<String> {
        self.catalogue.world().namespaces.get(name).map(|n| n.meta.labels["v"].clone())
    }

    fn gateway(&self, name: &str) -> Option<String> {
        self.catalogue.world().routes.get(name)?.next_hops[0].gateway.map(|g| g.to_string())
    }
}

#[test]
fn an_invalid_edit_keeps_the_last_good_object_and_is_told() {
    let mut folder = Folder::default();
    folder.write("a.yaml", route("out", "192.0.2.1"));
    assert_eq!(folder.catalogue.refused(), []);
    folder.write("a.yaml", spoilt("out"));
    assert_eq!(folder.gateway("out").as_deref(), Some("192.0.2.1"));
    assert_eq!(folder.catalogue.refused().len(), 1);
    folder.write("a.yaml", route("out", "192.0.2.2"));
    assert_eq!(folder.gateway("out").as_deref(), Some("192.0.2.2"));
    assert_eq!(folder.catalogue.refused(), []);
}

#[test]
fn an_invalid_object_does_not_stop_the_others_of_its_file() {
    let mut folder = Folder::default();
    folder.write("a.yaml", format!("{}---\n{}---\n{}", namespace("a", "1"), spoilt("out"), namespace("b", "1")));
    assert_eq!(
        (folder.label("a"), folder.label("b"), folder.gateway("out")),
        (Some("1".into()), Some("1".into()), None)
    );
    assert_eq!(folder.catalogue.refused().len(), 1);
}

#[test]
fn a_file_that_is_no_yaml_keeps_everything_it_held() {
    let mut folder = Folder::default();
    folder.write("a.yaml", format!("{}---\n{}", namespace("a", "1"), namespace("b", "1")));
    folder.write("a.yaml", "{ this: [is not");
    assert_eq!((folder.label("a"), folder.label("b")), (Some("1".into()), Some("1".into())));
    assert_eq!(folder.catalogue.refused().len(), 1);
    folder.write("a.yaml", namespace("a", "2"));
    assert_eq!((folder.label("a"), folder.label("b")), (Some("2".into()), None));
}

#[test]
fn what_is_gone_from_the_folder_is_gone() {
    let mut folder = Folder::default();
    folder.write("a.yaml", format!("{}---\n{}", namespace("a", "1"), namespace("b", "1")));
    folder.write("a.yaml", namespace("a", "1"));
    assert_eq!(folder.label("b"), None);
    folder.remove("a.yaml");
    assert_eq!(folder.label("a"), None);
}

#[test]
fn of_two_files_with_one_object_the_first_by_name_wins() {
    let mut folder = Folder::default();
    folder.write("b.yaml", namespace("a", "of b"));
    folder.write("a.yaml", namespace("a", "of a"));
    assert_eq!(folder.label("a").as_deref(), Some("of a"));
    let refused: Vec<&Rejection> = folder.catalogue.refused().iter().map(|refused| &refused.rejection).collect();
    assert_eq!((refused.len(), refused[0].reason), (1, Reason::Conflicted));
    assert!(refused[0].to_string().contains("b.yaml") && refused[0].message.contains("a.yaml"), "{}", refused[0]);
    folder.remove("a.yaml");
    assert_eq!(folder.label("a").as_deref(), Some("of b"));
}

#[test]
fn a_folder_or_file_that_cannot_be_read_keeps_what_it_held() {
    let mut folder = Folder::default();
    folder.write("a.yaml", namespace("a", "1"));
    folder.files.insert("a.yaml".to_owned(), Err("permission denied".to_owned()));
    folder.catalogue.update(Ok(folder.files.clone()));
    assert_eq!((folder.label("a").as_deref(), folder.catalogue.refused().len()), (Some("1"), 1));
    folder.catalogue.update(Err("gone".to_owned()));
    assert_eq!((folder.label("a").as_deref(), folder.catalogue.refused().len()), (Some("1"), 1));
}

#[test]
fn an_object_that_is_spoilt_at_a_restart_is_still_in_force() {
    let mut folder = Folder::default();
    folder.write("a.yaml", format!("{}---\n{}", route("out", "192.0.2.1"), namespace("a", "1")));
    let mut folder = Folder { catalogue: Catalogue::remembering(folder.catalogue.kept()), ..Folder::default() };
    folder.write("a.yaml", spoilt("out"));
    assert_eq!(folder.gateway("out").as_deref(), Some("192.0.2.1"));
    assert_eq!(folder.label("a"), None, "what is not in the folder any more is not");
}

#[test]
fn the_same_folder_again_is_no_change() {
    let mut folder = Folder::default();
    assert!(folder.write("a.yaml", namespace("a", "1")));
    assert!(!folder.write("a.yaml", namespace("a", "1")));
    assert!(folder.write("a.yaml", namespace("a", "2")));
}
