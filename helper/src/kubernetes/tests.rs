use kube::api::DynamicObject;
use sortie_core::world::World;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::catalogue::Catalogue;

fn api() -> Api {
    Api {
        notices: unbounded_channel().1,
        questions: unbounded_channel().0,
        due: tokio::sync::watch::channel(Due::default()).0,
        events: Teller::new().0,
        shelf: BTreeMap::new(),
        generations: BTreeMap::new(),
        listed: BTreeSet::new(),
        numbers: BTreeMap::new(),
        troubles: BTreeMap::new(),
        burst: Burst::default(),
    }
}

fn node(name: &str, annotations: serde_json::Value) -> Document {
    let watched = kinds::ALL.iter().find(|watched| watched.kind == Kind::Node).unwrap();
    let json = serde_json::json!({"metadata": {"name": name, "annotations": annotations}});
    watched.read(serde_json::from_value::<DynamicObject>(json).unwrap()).unwrap()
}

fn namespace(name: &str, label: &str) -> Document {
    let watched = kinds::ALL.iter().find(|watched| watched.kind == Kind::Namespace).unwrap();
    let json = serde_json::json!({
        "metadata": {"name": name, "labels": {"v": label}, "resourceVersion": "7", "managedFields": [{"manager": "x"}]},
        "status": {"phase": "Active"},
    });
    watched.read(serde_json::from_value::<DynamicObject>(json).unwrap()).unwrap()
}

fn tell(api: &mut Api, kind: Kind, news: News) {
    api.burst.ends();
    api.take(Notice { kind, news });
}

fn tell_all(api: &mut Api) {
    for watched in kinds::ALL {
        tell(api, watched.kind, News::All(Vec::new()));
    }
}

fn world(api: &mut Api) -> World {
    let mut catalogue = Catalogue::default();
    catalogue.update_from_api(api.holding());
    catalogue.world()
}

#[test]
fn nothing_counts_before_every_kind_was_told() {
    let mut api = api();
    for watched in kinds::ALL.iter().skip(1) {
        tell(&mut api, watched.kind, News::All(Vec::new()));
        assert!(api.holding().objects.is_none());
    }
    tell(&mut api, kinds::ALL[0].kind, News::All(Vec::new()));
    assert!(api.holding().objects.is_some());
}

#[test]
fn a_new_list_replaces_what_was_of_its_kind_and_nothing_else() {
    let mut api = api();
    tell_all(&mut api);
    tell(&mut api, Kind::Namespace, News::All(vec![namespace("a", "1"), namespace("b", "1")]));
    tell(&mut api, Kind::Pod, News::All(Vec::new()));
    assert_eq!(world(&mut api).namespaces.len(), 2);
    tell(&mut api, Kind::Namespace, News::All(vec![namespace("b", "2")]));
    let world = world(&mut api);
    assert_eq!(world.namespaces.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(world.namespaces["b"].meta.labels["v"], "2");
}

#[test]
fn a_change_of_what_nobody_reads_is_no_news() {
    let mut api = api();
    tell(&mut api, Kind::Namespace, News::One(Box::new(namespace("a", "1"))));
    assert!(api.burst.due().is_some());
    tell(&mut api, Kind::Namespace, News::One(Box::new(namespace("a", "1"))));
    assert!(api.burst.due().is_none());
    tell(&mut api, Kind::Namespace, News::Gone(namespace("a", "1").key.unwrap()));
    assert!(api.burst.due().is_some() && api.shelf.is_empty());
}

#[test]
fn trouble_is_told_until_it_is_over_and_takes_nothing_away() {
    let mut api = api();
    tell_all(&mut api);
    tell(&mut api, Kind::Namespace, News::One(Box::new(namespace("a", "1"))));
    tell(&mut api, Kind::Pod, News::Trouble(Some("forbidden".to_owned())));
    let mut catalogue = Catalogue::default();
    catalogue.update_from_api(api.holding());
    assert!(
        catalogue.refused()[0].rejection.to_string().contains("Pod: cannot be read: forbidden"),
        "{:?}",
        catalogue.refused()
    );
    assert_eq!(catalogue.world().namespaces.len(), 1);
    tell(&mut api, Kind::Pod, News::Trouble(None));
    assert!(catalogue.update_from_api(api.holding()) && catalogue.refused().is_empty());
}

#[test]
fn a_node_has_the_number_of_its_lease_unless_it_has_one_of_its_own() {
    let mut api = api();
    tell_all(&mut api);
    let own = serde_json::json!({"sortie.dev/node-number": "9"});
    tell(&mut api, Kind::Node, News::All(vec![node("a", serde_json::json!({})), node("b", own)]));
    let numbers = |api: &mut Api| world(api).nodes.values().map(|node| node.number).collect::<Vec<_>>();
    assert_eq!(numbers(&mut api), [None, Some(9)]);
    let told = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 3)]);
    tell(&mut api, Kind::Node, News::Numbers(told));
    assert_eq!(numbers(&mut api), [Some(1), Some(9)]);
    tell(&mut api, Kind::Node, News::One(Box::new(node("c", serde_json::json!({})))));
    assert_eq!(numbers(&mut api), [Some(1), Some(9), Some(3)]);
    tell(&mut api, Kind::Node, News::Numbers(BTreeMap::new()));
    assert_eq!(numbers(&mut api), [None, Some(9), None]);
}
