//! Who asks for what, for one pod.
//!
//! Guarantees: every object that asks for something for the pod is found, with its place in the order of
//! origins. Leaves out: whether what it asks for exists and is allowed, which is [`super::judge`]'s.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::annotation;
use crate::model::{
    Attachment, Egress, EgressPolicy, Kind, Labels, ObjectKey, ObjectName, Pod, PodReference, PortMatch, Rejection,
    Service,
};
use crate::selection::service;
use crate::world::World;

/// Annotation of a mirror pod: the UID under which the runtime knows the static pod.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// Kind of a wish's author, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The pod's annotations.
    Annotation,
    /// The net conf of its network.
    NetConf,
    /// An `EgressPolicy`.
    Policy,
    /// A Service's annotations.
    Service,
    /// Its Namespace's annotations.
    Namespace,
}

impl Origin {
    /// The kind of author in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Annotation => "an annotation of the pod",
            Self::NetConf => "the net conf",
            Self::Policy => "an EgressPolicy",
            Self::Service => "a Service",
            Self::Namespace => "an annotation of the Namespace",
        }
    }

    /// Whether the pod or its network asks itself, so that a bad reference fails its ADD.
    pub(super) fn is_own(self) -> bool {
        matches!(self, Self::Annotation | Self::NetConf)
    }
}

/// What one object asks for.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    /// Kind of author.
    pub origin: Origin,
    /// Object that gets the conditions.
    pub owner: ObjectKey,
    /// The author in messages.
    pub label: String,
    /// `metadata.creationTimestamp`, or empty.
    pub created: &'a str,
    /// The entries, or why they cannot be read.
    pub asks: Result<Cow<'a, [Egress]>, Rejection>,
}

impl<'a> Wish<'a> {
    fn of(origin: Origin, owner: ObjectKey, created: &'a str, asks: Result<Cow<'a, [Egress]>, Rejection>) -> Self {
        Self { origin, label: owner.to_string(), owner, created, asks }
    }

    /// What an object that is read already asks for.
    pub(super) fn plain(origin: Origin, owner: ObjectKey, created: &'a str, asks: &'a [Egress]) -> Self {
        Self::of(origin, owner, created, Ok(Cow::Borrowed(asks)))
    }

    /// What a policy asks for.
    pub(super) fn policy(policy: &'a EgressPolicy) -> Self {
        let owner = ObjectKey { kind: Kind::EgressPolicy, name: policy.name.clone() };
        Self::plain(Origin::Policy, owner, &policy.meta.created, std::slice::from_ref(&policy.egress))
    }

    /// What a Service asks for.
    pub(super) fn service(service: &'a Service, subject: &Subject<'_>) -> Self {
        let owner = ObjectKey { kind: Kind::Service, name: service.name.clone() };
        Self::of(Origin::Service, owner, &service.meta.created, service::egress(service, subject).map(Cow::Owned))
    }

    fn asks_something(&self) -> bool {
        self.asks.as_ref().map_or(true, |asks| !asks.is_empty())
    }
}

/// The pod that is decided for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// Its namespace; `None` for a runtime without pods.
    pub namespace: Option<&'a str>,
    /// What is known of it.
    pub pod: Who<'a>,
}

/// What is known of a pod.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who<'a> {
    /// Any pod of the namespace: an object is judged by itself.
    Anyone,
    /// There is no Pod object; the pod counts as one without labels and named ports.
    Unknown,
    /// Its Pod object.
    Known(&'a Pod),
}

static NO_LABELS: Labels = BTreeMap::new();

impl<'a> Subject<'a> {
    /// The pod of an attachment. A Pod object of the same name that is another pod is not taken for it.
    pub(super) fn of(world: &'a World, attachment: &'a Attachment) -> Self {
        let Some(reference) = &attachment.pod else { return Self { namespace: None, pod: Who::Unknown } };
        let name = ObjectName { namespace: reference.namespace.clone(), name: reference.name.clone() };
        let known = world.pods.get(&name).filter(|pod| is_same(pod, reference));
        Self { namespace: Some(&reference.namespace), pod: known.map_or(Who::Unknown, Who::Known) }
    }

    /// Whether its object is known.
    pub(super) fn is_known(&self) -> bool {
        matches!(self.pod, Who::Known(_))
    }

    /// A pod by its object.
    pub(super) fn pod(pod: &'a Pod) -> Self {
        Self { namespace: Some(&pod.name.namespace), pod: Who::Known(pod) }
    }

    /// Any pod of a namespace.
    pub(super) fn anyone(namespace: &'a str) -> Self {
        Self { namespace: Some(namespace), pod: Who::Anyone }
    }

    /// Labels, as far as they are known.
    pub(super) fn labels(&self) -> &'a Labels {
        if let Who::Known(pod) = self.pod { &pod.meta.labels } else { &NO_LABELS }
    }

    /// The container port of that name.
    pub(super) fn port(&self, name: &str) -> Option<PortMatch> {
        if let Who::Known(pod) = self.pod { pod.named_ports.get(name).copied() } else { None }
    }

    /// Whether the pod uses the node's own network.
    pub(super) fn is_host(&self) -> bool {
        matches!(self.pod, Who::Known(pod) if pod.host_network)
    }
}

fn is_same(pod: &Pod, reference: &PodReference) -> bool {
    let mirrored = pod.meta.annotations.get(MIRROR);
    reference.uid.is_empty()
        || pod.meta.uid.is_empty()
        || pod.meta.uid == reference.uid
        || mirrored == Some(&reference.uid)
}

/// All wishes for a pod that ask for something.
pub(super) fn collect<'a>(world: &'a World, attachment: &'a Attachment, subject: &Subject<'a>) -> Vec<Wish<'a>> {
    let own = [annotations(attachment, subject), net_conf(attachment)];
    own.into_iter().chain(by_others(world, subject)).filter(Wish::asks_something).collect()
}

/// What other objects of the namespace ask for a pod.
pub(super) fn by_others<'a>(world: &'a World, subject: &Subject<'a>) -> Vec<Wish<'a>> {
    let Some(namespace) = subject.namespace else { return Vec::new() };
    let labels = subject.labels();
    let policies = within(&world.policies, namespace).filter(|p| p.pod_selector.matches(labels)).map(Wish::policy);
    let services = within(&world.services, namespace)
        .filter(|s| service::selects(s, labels) && service::asks(s))
        .map(|s| Wish::service(s, subject));
    let default = world.namespaces.get(namespace).map(|n| {
        let owner = ObjectKey { kind: Kind::Namespace, name: cluster_scoped(&n.name) };
        Wish::plain(Origin::Namespace, owner, &n.meta.created, &n.egress)
    });
    policies.chain(services).chain(default).filter(Wish::asks_something).collect()
}

/// Name of an object without namespace.
pub(super) fn cluster_scoped(name: &str) -> ObjectName {
    ObjectName { namespace: String::new(), name: name.to_owned() }
}

/// Key under which the pod of an attachment is reported; without a pod, its container's id.
pub(super) fn owner(attachment: &Attachment) -> ObjectKey {
    let name = match &attachment.pod {
        Some(pod) => ObjectName { namespace: pod.namespace.clone(), name: pod.name.clone() },
        None => cluster_scoped(&attachment.container_id),
    };
    ObjectKey { kind: Kind::Pod, name }
}

fn annotations<'a>(attachment: &'a Attachment, subject: &Subject<'a>) -> Wish<'a> {
    let owner = owner(attachment);
    if let Who::Known(pod) = subject.pod {
        return Wish::plain(Origin::Annotation, owner, &pod.meta.created, &pod.egress);
    }
    let asks = annotation::egress(&owner.to_string(), &attachment.annotations);
    Wish::of(Origin::Annotation, owner, "", asks.map(Cow::Owned))
}

fn net_conf(attachment: &Attachment) -> Wish<'_> {
    let asks = annotation::net_conf(&attachment.routes).map(Cow::Owned);
    let wish = Wish::of(Origin::NetConf, owner(attachment), "", asks);
    Wish { label: format!("net conf {}", attachment.network), ..wish }
}

/// Objects of a namespace.
pub(super) fn within<'a, T>(objects: &'a BTreeMap<ObjectName, T>, namespace: &'a str) -> impl Iterator<Item = &'a T> {
    let first = ObjectName { namespace: namespace.to_owned(), name: String::new() };
    objects.range(first..).take_while(move |(name, _)| name.namespace == namespace).map(|(_, object)| object)
}
