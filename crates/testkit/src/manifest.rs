//! Manifests that fit the [`Lab`](crate::Lab).

use crate::helper::NODE;
use crate::lab::{DEVICES, GATEWAY4, GATEWAY6, NODE4, NODE6, POD_NET4, POD_NET6, ROUTERS, VIP_NET4, VIP_NET6};

/// The node with its pod networks and addresses.
#[must_use]
pub fn node() -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {NODE}}}\n\
         spec: {{podCIDRs: [{POD_NET4}, \"{POD_NET6}\"]}}\n\
         status: {{addresses: [{{type: InternalIP, address: {}}}, {{type: InternalIP, address: \"{}\"}}]}}\n",
        NODE4[0], NODE6[0]
    )
}

/// A route by the router of the same name, `b` or `c`, in both families, for all namespaces.
#[must_use]
pub fn route(router: &str) -> String {
    route_with(router, &hops(router, ""), "")
}

/// Next hops of both families by a router; `more` is added to each, `", backup: true"` for example.
#[must_use]
pub fn hops(router: &str, more: &str) -> String {
    let index = ROUTERS.iter().position(|name| *name == router).unwrap_or(0);
    let (device, four, six) = (DEVICES[index], GATEWAY4[index], GATEWAY6[index]);
    format!("{{gateway: {four}, device: {device}{more}}}, {{gateway: \"{six}\", device: {device}{more}}}")
}

/// A route with these next hops; `spec` holds more lines of its spec, indented by two blanks.
#[must_use]
pub fn route_with(name: &str, hops: &str, spec: &str) -> String {
    format!(
        "apiVersion: sortie.dev/v1alpha1\nkind: ServiceOutboundRoute\nmetadata: {{name: {name}}}\nspec:\n  \
         nextHops: [{hops}]\n  allowedNamespaces: {{from: All}}\n{spec}"
    )
}

/// A policy; `spec` in flow style, `podSelector: {}, route: b` for example.
#[must_use]
pub fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: sortie.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{{spec}}}\n"
    )
}

/// Several documents in one file.
#[must_use]
pub fn all(documents: &[String]) -> String {
    documents.join("---\n")
}

/// A pool of addresses outside every network of the lab, for all namespaces.
#[must_use]
pub fn pool() -> String {
    format!(
        "apiVersion: sortie.dev/v1alpha1\nkind: AddressPool\nmetadata: {{name: public}}\n\
         spec: {{addresses: [{VIP_NET4}, \"{VIP_NET6}\"], allowedNamespaces: {{from: All}}}}\n"
    )
}

/// A Service of our class for the pods labelled `app: NAME`, with `more` annotations in flow style.
#[must_use]
pub fn service(name: &str, annotations: &str, ports: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default, annotations: {{{annotations}}}}}\n\
         spec: {{type: LoadBalancer, loadBalancerClass: sortie.dev/vip, selector: {{app: {name}}}, ports: [{ports}]}}\n"
    )
}

/// A pod of the lab's node, by which selectors know it.
#[must_use]
pub fn pod(name: &str, app: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {{app: {app}}}}}\n\
         spec: {{nodeName: {NODE}}}\n"
    )
}
