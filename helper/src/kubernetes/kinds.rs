//! The kinds that are watched.

use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::{Value, json};
use sortie_core::annotation::kube_vip;
use sortie_core::manifest::{self, Document};
use sortie_core::model::Kind;

/// One kind, and how the API calls it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) kind: Kind,
    group: &'static str,
    version: &'static str,
    name: &'static str,
    plural: &'static str,
    /// What an API server is taken to hold that does not know the kind.
    pub(super) when_absent: WhenAbsent,
    /// Whose annotations count.
    pub(super) annotations: Annotations,
}

/// What it means that an API server does not know a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenAbsent {
    /// It has none.
    Empty,
    /// It will know it soon.
    Wait,
}

/// Annotations that count on Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Annotations {
    #[default]
    Ours,
    /// kube-vip's as synonyms of ours.
    KubeVipToo,
}

/// All kinds that are watched.
pub(super) const ALL: [Watched; 8] = [
    core(Kind::Node, "Node", "nodes"),
    core(Kind::Namespace, "Namespace", "namespaces"),
    core(Kind::Pod, "Pod", "pods"),
    core(Kind::Service, "Service", "services"),
    Watched {
        kind: Kind::ServiceCidr,
        group: "networking.k8s.io",
        version: "v1",
        name: "ServiceCIDR",
        plural: "servicecidrs",
        when_absent: WhenAbsent::Empty,
        annotations: Annotations::Ours,
    },
    ours(Kind::ServiceOutboundRoute, "ServiceOutboundRoute", "serviceoutboundroutes"),
    ours(Kind::EgressPolicy, "EgressPolicy", "egresspolicies"),
    ours(Kind::AddressPool, "AddressPool", "addresspools"),
];

/// How a kind is watched.
pub(super) fn of(kind: Kind) -> Option<&'static Watched> {
    ALL.iter().find(|watched| watched.kind == kind)
}

/// Whether it is a kind of ours, which have a status.
pub(super) fn has_status(kind: Kind) -> bool {
    matches!(kind, Kind::ServiceOutboundRoute | Kind::EgressPolicy | Kind::AddressPool)
}

const fn core(kind: Kind, name: &'static str, plural: &'static str) -> Watched {
    Watched { group: "", version: "v1", ..ours(kind, name, plural) }
}

const fn ours(kind: Kind, name: &'static str, plural: &'static str) -> Watched {
    Watched {
        kind,
        group: "sortie.dev",
        version: "v1alpha1",
        name,
        plural,
        when_absent: WhenAbsent::Wait,
        annotations: Annotations::Ours,
    }
}

impl Watched {
    /// The kind in the client's terms.
    pub(super) fn resource(&self) -> ApiResource {
        ApiResource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            api_version: self.api_version(),
            kind: self.name.to_owned(),
            plural: self.plural.to_owned(),
        }
    }

    /// Where an object is asked for and written; kinds without namespaces have an empty one.
    pub(super) fn api(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        match namespace {
            "" => Api::all_with(client.clone(), &self.resource()),
            namespace => Api::namespaced_with(client.clone(), namespace, &self.resource()),
        }
    }

    /// An object of the API read like a manifest.
    pub(super) fn read(&self, object: DynamicObject) -> Option<Document> {
        let DynamicObject { mut metadata, mut data, .. } = object;
        metadata.managed_fields = None;
        if (self.kind, self.annotations) == (Kind::Service, Annotations::KubeVipToo) {
            metadata.annotations.iter_mut().for_each(kube_vip::translate);
        }
        let metadata = serde_json::to_value(metadata).unwrap_or(Value::Null);
        let fields = data.as_object_mut().map(std::mem::take).unwrap_or_default();
        let mut json = json!({"apiVersion": self.api_version(), "kind": self.name, "metadata": metadata});
        if let Some(map) = json.as_object_mut() {
            map.extend(fields);
        }
        manifest::object_of_api(json)
    }

    fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }
}
