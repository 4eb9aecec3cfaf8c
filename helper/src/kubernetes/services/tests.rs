use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use sortie_core::model::Reason;

use super::*;
use crate::due::Verdict;
use crate::kubernetes::kinds::Annotations;

fn service(version: &str, owner: Option<&str>) -> DynamicObject {
    let mut json = json!({
        "metadata": {"name": "web", "namespace": "telco", "uid": "u", "resourceVersion": version},
        "spec": {"loadBalancerClass": "sortie.dev/vip"},
    });
    if let Some(owner) = owner {
        json["metadata"]["annotations"] = json!({OWNER: owner, "sortie.dev/route": "b"});
    }
    serde_json::from_value(json).unwrap()
}

fn web() -> ObjectName {
    ObjectName { namespace: "telco".to_owned(), name: "web".to_owned() }
}

fn standing(reason: Reason) -> Standing {
    let holds = reason == Reason::Programmed;
    let ready = Verdict { holds, reason, message: "because".to_owned() };
    Standing { uid: "u".to_owned(), owner: Some("n1".to_owned()), ready }
}

#[test]
fn what_is_known_follows_the_watch_and_the_annotation_goes_no_further() {
    let (mut ledger, reader) = Ledger::new(Annotations::Ours);
    let mut apply = Event::Apply(service("7", Some("n2")));
    ledger.take(&mut apply);
    let Event::Apply(object) = apply else { panic!() };
    assert_eq!(object.metadata.annotations.unwrap().into_keys().collect::<Vec<_>>(), ["sortie.dev/route"]);
    assert_eq!(reader.borrow()[&web()].owner.as_deref(), Some("n2"));
    for mut event in [Event::Init, Event::InitApply(service("9", None)), Event::InitDone] {
        ledger.take(&mut event);
    }
    assert_eq!((reader.borrow()[&web()].owner.clone(), reader.borrow()[&web()].version.as_str()), (None, "9"));
    ledger.take(&mut Event::Delete(service("9", None)));
    assert!(reader.borrow().is_empty());
}

#[test]
fn a_service_without_our_words_is_not_kept() {
    let (mut ledger, reader) = Ledger::new(Annotations::Ours);
    let mut other = service("1", None);
    other.data["spec"] = json!({});
    ledger.take(&mut Event::Apply(other));
    assert!(reader.borrow().is_empty());
}

#[test]
fn what_is_said_already_is_not_said_again_and_a_new_owner_is_an_event() {
    let said = Said {
        uid: "u".into(),
        version: "1".into(),
        owner: Some("n2".into()),
        names: &[OWNER],
        agrees: true,
        ready: Value::Null,
    };
    assert!(!says(&said, Some(&standing(Reason::Programmed))));
    let reasons = |standing: &Standing, said: &Said| -> Vec<String> {
        happened(&web(), standing, said).into_iter().map(|happening| happening.reason).collect()
    };
    assert_eq!(reasons(&standing(Reason::Programmed), &said), ["OwnerChanged"]);
    let now = Said { owner: Some("n1".into()), ready: wanted(&said, &standing(Reason::Programmed)), ..said };
    assert!(says(&now, Some(&standing(Reason::Programmed))) && reasons(&standing(Reason::Programmed), &now).is_empty());
    assert_eq!(reasons(&standing(Reason::NextHopUnreachable), &now), ["NextHopUnreachable"]);
    let lost = Said { ready: wanted(&now, &standing(Reason::NextHopUnreachable)), ..now };
    assert_eq!(reasons(&standing(Reason::Programmed), &lost), ["EgressReady"]);
}

#[test]
fn the_owner_stands_under_kube_vips_name_too_where_its_annotations_count() {
    for (annotations, theirs, host, expected) in [
        (Annotations::Ours, true, None, (1, true)),
        (Annotations::KubeVipToo, false, None, (1, true)),
        (Annotations::KubeVipToo, true, None, (2, false)),
        (Annotations::KubeVipToo, true, Some("n1"), (2, false)),
        (Annotations::KubeVipToo, true, Some("n2"), (2, true)),
    ] {
        let mut object = service("1", Some("n2"));
        let held = object.metadata.annotations.get_or_insert_default();
        held.extend(theirs.then(|| ("kube-vip.io/egress".to_owned(), "true".to_owned())));
        held.extend(host.map(|host| (VIP_HOST.to_owned(), host.to_owned())));
        let (mut ledger, reader) = Ledger::new(annotations);
        ledger.take(&mut Event::Apply(object));
        let said = reader.borrow()[&web()].clone();
        assert_eq!((said.names.len(), said.agrees), expected, "{annotations:?} {theirs} {host:?}");
    }
}
