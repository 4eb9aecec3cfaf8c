//! References to what does not exist or is not allowed, and the pod's identity.

use super::*;
use crate::selection::wish::{Origin, Subject, Who, Wish};

fn telco_only() -> ServiceOutboundRoute {
    let allowed_namespaces = AllowedNamespaces::Selector(selector(&[("network", "telco")]));
    ServiceOutboundRoute { allowed_namespaces, ..route("telco") }
}

fn telco_namespace(egress: Vec<Egress>) -> Namespace {
    let meta = Meta { labels: labels(&[("network", "telco")]), ..Meta::default() };
    Namespace { meta, ..namespace(egress) }
}

fn closed() -> Vec<Flow> {
    vec![Flow { matcher: FlowMatch::default(), path: PathKey::Closed }]
}

#[test]
fn an_unknown_route_in_the_pods_annotation_is_refused() {
    let world = world([Object::Pod(pod(vec![by("nowhere")]))]);
    let rejection = select(&world, &attachment()).unwrap_err();
    assert_eq!(rejection.reason, Reason::RouteNotFound);
    assert_eq!(rejection.object, "Pod core/sip-1");
    assert!(rejection.message.contains("nowhere"), "{rejection}");
}

#[test]
fn a_route_deleted_under_an_admitted_pod_closes_its_flows() {
    let world = world([Object::Pod(pod(vec![by("nowhere")]))]);
    assert_eq!(select_admitted(&world, &attachment()).flows, closed());
}

#[test]
fn an_unknown_route_in_policy_or_namespace_closes_the_flows() {
    for object in [Object::Policy(policy("p", by("nowhere"))), Object::Namespace(namespace(vec![by("nowhere")]))] {
        assert_eq!(flows(&world([object])), closed());
    }
    let world = world([Object::Policy(policy("p", by("nowhere")))]);
    let condition = accepted(&world, &key(Kind::EgressPolicy, "core", "p"));
    assert_eq!((condition.holds, condition.reason), (false, Reason::RouteNotFound));
}

#[test]
fn a_namespace_that_is_not_allowed_is_refused_to_the_pod_and_ignored_from_others() {
    let by_pod = world([Object::Route(telco_only()), Object::Pod(pod(vec![by("telco")]))]);
    assert_eq!(select(&by_pod, &attachment()).unwrap_err().reason, Reason::NamespaceNotAllowed);
    assert_eq!(select_admitted(&by_pod, &attachment()).flows, []);

    let by_policy = world([Object::Route(telco_only()), Object::Policy(policy("p", by("telco")))]);
    assert_eq!(flows(&by_policy), []);
    let condition = accepted(&by_policy, &key(Kind::EgressPolicy, "core", "p"));
    assert_eq!((condition.holds, condition.reason), (false, Reason::NamespaceNotAllowed));
}

#[test]
fn the_labels_of_the_namespace_allow_it() {
    let egress = vec![by("telco")];
    let world = world([Object::Route(telco_only()), Object::Namespace(telco_namespace(egress))]);
    assert_eq!(flows(&world)[0].path, path("telco"));
}

#[test]
fn a_namespace_without_manifest_has_its_name_as_a_label() {
    let mut named = route("named");
    named.allowed_namespaces = AllowedNamespaces::Selector(selector(&[("kubernetes.io/metadata.name", "core")]));
    let world = world([Object::Route(named), Object::Pod(pod(vec![by("named")]))]);
    assert_eq!(flows(&world)[0].path, path("named"));
}

/// The verdict on "all traffic by `telco`" from this origin in this namespace.
fn verdict(origin: Origin, namespace: Option<&str>, allowed_namespaces: AllowedNamespaces) -> judge::Verdict {
    let world = world([Object::Route(ServiceOutboundRoute { allowed_namespaces, ..telco_only() })]);
    let egress = by("telco");
    let wish = Wish::plain(origin, key(Kind::Pod, "", "c1"), "", std::slice::from_ref(&egress));
    judge::judge(&world, &Subject { namespace, pod: Who::Unknown }, &wish, &egress)
}

#[test]
fn the_net_conf_may_name_every_route() {
    let telco = || telco_only().allowed_namespaces;
    assert_eq!(verdict(Origin::NetConf, Some("core"), telco()).problem, None);
    assert_eq!(verdict(Origin::NetConf, None, telco()).problem, None);
}

#[test]
fn no_selector_of_a_route_allows_a_container_without_namespace() {
    let anything = AllowedNamespaces::Selector(LabelSelector::default());
    let refused = verdict(Origin::Annotation, None, anything.clone());
    assert_eq!(refused.problem.map(|p| p.reason), Some(Reason::NamespaceNotAllowed));
    assert_eq!(verdict(Origin::Annotation, Some("core"), anything).problem, None);
    assert_eq!(verdict(Origin::Annotation, None, AllowedNamespaces::All).problem, None);
}

#[test]
fn a_container_without_namespace_is_selected_by_nobody_else() {
    let world = world([Object::Namespace(namespace(vec![by("a")])), Object::Policy(policy("p", by("a")))]);
    assert_eq!(select(&world, &Attachment { pod: None, ..attachment() }).unwrap(), Assignment::default());
}

#[test]
fn a_policy_selects_by_labels_within_its_namespace() {
    let selecting = |pairs: &[(&str, &str)]| EgressPolicy { pod_selector: selector(pairs), ..policy("p", by("a")) };
    let chosen = |policy| flows(&world([Object::Pod(pod(vec![])), Object::Policy(policy)])).len();
    assert_eq!(chosen(selecting(&[("app", "sip")])), 1);
    assert_eq!(chosen(selecting(&[("app", "web")])), 0);
    assert_eq!(chosen(EgressPolicy { name: name("other", "p"), ..policy("p", by("a")) }), 0);
}

#[test]
fn a_pod_object_of_another_uid_is_another_pod() {
    let mut other = pod(vec![by("a")]);
    other.meta.uid = "u2".to_owned();
    assert_eq!(flows(&world([Object::Pod(other.clone())])), []);

    other.meta.annotations = labels(&[("kubernetes.io/config.mirror", "u1")]);
    assert_eq!(flows(&world([Object::Pod(other.clone())])).len(), 1, "a mirror pod is the static pod");

    other.meta = Meta::default();
    assert_eq!(flows(&world([Object::Pod(other.clone())])).len(), 1, "without a uid the name decides");

    other.meta.uid = "u2".to_owned();
    let mut silent = attachment();
    silent.pod = Some(PodReference { uid: String::new(), ..silent.pod.unwrap() });
    let world = world([Object::Pod(other)]);
    assert_eq!(select(&world, &silent).unwrap().flows.len(), 1, "a runtime without uids goes by the name");
}

#[test]
fn a_pod_on_the_hosts_network_is_reported_and_not_selected() {
    let on_host = Pod { host_network: true, ..pod(vec![by("a")]) };
    let world = world([Object::Pod(on_host), Object::Policy(policy("p", by("b")))]);
    assert_eq!(flows(&world), []);
    let condition = accepted(&world, &key(Kind::Pod, "core", "sip-1"));
    assert_eq!((condition.holds, condition.reason), (false, Reason::Invalid));
    assert!(condition.message.contains("spec.hostNetwork"), "{}", condition.message);
}

#[test]
fn a_route_with_a_gateway_inside_the_cluster_is_closed() {
    let world = world([Object::Node(node("192.168.50.0/24")), Object::Pod(pod(vec![by("a")]))]);
    assert_eq!(flows(&world), closed());
    let condition = accepted(&world, &key(Kind::ServiceOutboundRoute, "", "a"));
    assert_eq!((condition.holds, condition.reason), (false, Reason::Invalid));
    assert!(condition.message.contains("spec.nextHops[0].gateway"), "{}", condition.message);
}
