//! Numbers of nodes: whoever creates the Lease `sortie-node-<n>` has number n for good.
//!
//! Guarantees: no two nodes get one number, because the API server creates a name once. A Lease belongs to its Node and
//! goes with it. Leaves out: Nodes with an annotation, whose number is somebody's decision.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use sortie_core::model::Kind;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;

use super::trouble::Trouble;
use super::{News, Notice};

const PREFIX: &str = "sortie-node-";
/// By which these Leases are told from others.
const LABEL: (&str, &str) = ("sortie.dev/lease", "node");
/// Time until what failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);
const CONFLICT: u16 = 409;

/// Node by number.
type Holders = BTreeMap<u16, String>;

/// Takes a number for this node and tells those of all nodes.
pub(super) async fn number(client: Client, node: String, notices: UnboundedSender<Notice>) {
    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    let config = watcher::Config::default().labels(&format!("{}={}", LABEL.0, LABEL.1));
    let mut events = pin!(watcher(leases.clone(), config));
    let (mut list, mut known, mut trouble) = (Holders::new(), None, Trouble::default());
    while !notices.is_closed() {
        let mut outcome = Ok(());
        match timeout(AGAIN, events.next()).await {
            Ok(Some(Ok(event))) => {
                if take(event, &mut list, &mut known)
                    && let Some(holders) = &known
                {
                    let numbers = holders.iter().map(|(number, node)| (node.clone(), *number)).collect();
                    // Nobody listens any more when the helper ends.
                    let _ = notices.send(Notice { kind: Kind::Node, news: News::Numbers(numbers) });
                }
            }
            Ok(Some(Err(error))) => outcome = Err(crate::node::chain(&error)),
            Ok(None) | Err(_) => {}
        }
        if let Some(holders) = known.as_ref().filter(|holders| !holders.values().any(|holder| *holder == node))
            && let Err(error) = claim(&client, &node, free(holders)).await
        {
            outcome = Err(crate::node::chain(&error));
        }
        if trouble.has_failed("this node has no number yet or does not hear of others'", outcome) {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Whether what is known is different, and complete.
fn take(event: Event<Lease>, list: &mut Holders, known: &mut Option<Holders>) -> bool {
    match event {
        Event::Init => list.clear(),
        Event::InitApply(lease) => list.extend(holder(&lease)),
        Event::InitDone => *known = Some(std::mem::take(list)),
        Event::Apply(lease) => known.iter_mut().for_each(|known| known.extend(holder(&lease))),
        Event::Delete(lease) => {
            if let (Some(known), Some((number, _))) = (known.as_mut(), holder(&lease)) {
                known.remove(&number);
            }
        }
    }
    known.is_some()
}

fn holder(lease: &Lease) -> Option<(u16, String)> {
    let number = lease.metadata.name.as_ref()?.strip_prefix(PREFIX)?.parse().ok().filter(|number| *number > 0)?;
    Some((number, lease.spec.as_ref()?.holder_identity.clone()?))
}

fn free(holders: &Holders) -> Option<u16> {
    (1..=u16::MAX).find(|number| !holders.contains_key(number))
}

/// Of two that want one number the API server lets one through; the other hears of it and takes the next.
async fn claim(client: &Client, node: &str, number: Option<u16>) -> Result<(), kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let found = nodes.list(&ListParams::default().fields(&format!("metadata.name={node}"))).await?;
    let uid = found.items.into_iter().find_map(|node| node.metadata.uid);
    let (Some(uid), Some(number)) = (uid, number) else { return Ok(()) };
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid,
        ..OwnerReference::default()
    };
    let metadata = ObjectMeta {
        name: Some(format!("{PREFIX}{number}")),
        labels: Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    let spec = LeaseSpec { holder_identity: Some(node.to_owned()), ..LeaseSpec::default() };
    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    match leases.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await {
        Ok(_) => {
            log::info!("this node has number={number}");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == CONFLICT => Ok(()),
        Err(error) => Err(error),
    }
}
