//! The startup taint of a new node, which its own helper takes away.
//!
//! Guarantees: the taint goes when our pod on this node is Ready, which is when the helper has verified the node's state
//! and the entry is in the CNI configuration, and not earlier. Other taints stay, also one that comes at that moment.
//! Leaves out: putting it there, which who registers the node does.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::trouble::Trouble;

/// By which our pods are found, in the helper's own namespace.
const OURS: &str = "app.kubernetes.io/name=sortie";
/// Time between two looks while the node is tainted.
const AGAIN: Duration = Duration::from_secs(2);
/// Time between two looks otherwise; what changes is told.
const QUIET: Duration = Duration::from_secs(600);

/// Taints of the node, and the version of its object that has them.
type Tainted = (String, Vec<Taint>);

/// Takes the taint with this key away, each time it comes.
pub(super) async fn lift(client: Client, node: String, key: String) {
    let nodes: Api<Node> = Api::all(client.clone());
    let config = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let mut events = pin!(watcher(nodes.clone(), config));
    let (mut tainted, mut trouble) = (None, Trouble::default());
    loop {
        let mut outcome = Ok(());
        match timeout(if tainted.is_some() { AGAIN } else { QUIET }, events.next()).await {
            Ok(Some(Ok(event))) => tainted = take(event, &key, tainted),
            Ok(Some(Err(error))) => outcome = Err(crate::node::chain(&error)),
            Ok(None) | Err(_) => {}
        }
        if let Some(held) = &tainted {
            match remove(&client, (&node, &key), held).await {
                Ok(true) => tainted = None,
                Ok(false) => {}
                Err(error) => outcome = Err(crate::node::chain(&error)),
            }
        }
        if trouble.has_failed(format_args!("the startup taint cannot be removed taint={key}"), outcome) {
            sleep(AGAIN).await;
        }
    }
}

/// What is known of the taint after an event.
fn take(event: Event<Node>, key: &str, before: Option<Tainted>) -> Option<Tainted> {
    match event {
        Event::Apply(node) | Event::InitApply(node) => {
            let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
            let version = node.metadata.resource_version?;
            taints.iter().any(|taint| taint.key == key).then_some((version, taints))
        }
        Event::Delete(_) => None,
        Event::Init | Event::InitDone => before,
    }
}

/// Whether it was removed: not before our pod is Ready. An object that changed meanwhile is a conflict, and told anew.
async fn remove(client: &Client, (node, key): (&str, &str), (version, taints): &Tainted) -> Result<bool, kube::Error> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let here = ListParams::default().labels(OURS).fields(&format!("spec.nodeName={node}"));
    if !pods.list(&here).await?.items.iter().any(is_ready) {
        return Ok(false);
    }
    let rest: Vec<&Taint> = taints.iter().filter(|taint| taint.key != key).collect();
    let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": rest}});
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await?;
    log::info!("pods may start here now taint={key}");
    Ok(true)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NodeSpec, PodCondition, PodStatus};
    use kube::api::ObjectMeta;

    use super::*;

    const KEY: &str = "sortie.dev/not-ready";

    fn node(keys: &[&str]) -> Event<Node> {
        let taint = |key: &&str| Taint { key: (*key).to_owned(), ..Taint::default() };
        let taints = Some(keys.iter().map(taint).collect());
        let metadata = ObjectMeta { resource_version: Some("7".to_owned()), ..ObjectMeta::default() };
        Event::Apply(Node { metadata, spec: Some(NodeSpec { taints, ..NodeSpec::default() }), status: None })
    }

    #[test]
    fn only_a_node_with_the_taint_is_of_interest() {
        assert!(take(node(&[]), KEY, None).is_none());
        assert!(take(node(&["other"]), KEY, None).is_none());
        let (version, taints) = take(node(&["other", KEY]), KEY, None).unwrap();
        assert_eq!((version.as_str(), taints.len()), ("7", 2));
        assert!(take(node(&[]), KEY, Some((version, taints))).is_none());
    }

    #[test]
    fn a_pod_counts_when_it_is_ready_and_stays() {
        let condition = |status: &str| PodCondition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            ..PodCondition::default()
        };
        let pod = |status: &str| Pod {
            status: Some(PodStatus { conditions: Some(vec![condition(status)]), ..PodStatus::default() }),
            ..Pod::default()
        };
        assert!(is_ready(&pod("True")));
        assert!(!is_ready(&pod("False")) && !is_ready(&Pod::default()));
    }
}
