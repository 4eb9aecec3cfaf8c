//! A Service of our class with a pod behind it.

use std::net::IpAddr;

use anyhow::{Context, Result};
use serde_json::Value;
use sortie_testkit::lab::servers;
use sortie_testkit::{Capture, Captured, Flow, Helper, Lab, Pod, manifest};
use sortie_tests::Scene;
use sortie_tests::expect::leaves_as;
use sortie_tests::scene::SOON;

/// Ports of the Service `sip`: 5060 leads to the pod's 5060, 80 to 8080.
pub(crate) const PORTS: &str = "{name: sip, protocol: UDP, port: 5060, targetPort: 5060}, \
     {name: sipt, protocol: TCP, port: 5060, targetPort: 5060}, {name: sigtran, protocol: SCTP, port: 2905}, \
     {name: web, protocol: TCP, port: 80, targetPort: 8080}";

/// Flows of every transport from the Service's target ports, to both servers.
pub(crate) fn flows() -> Vec<Flow> {
    let all = |to| [Flow::udp(5060, to), Flow::tcp(5060, to), Flow::sctp(2905, to)];
    servers(7000).into_iter().flat_map(all).collect()
}

/// A pool, a Service `sip` with these annotations, and the object of the pod `sip-1`.
pub(crate) fn manifests(annotations: &str) -> String {
    manifest::all(&[manifest::pool(), manifest::service("sip", annotations, PORTS), manifest::pod("sip-1", "sip")])
}

/// A running scene with the pod.
pub(crate) fn scene<'a>(lab: &'a Lab, annotations: &str) -> Result<(Scene<'a>, Pod)> {
    lab.manifest("sip.yaml", &manifests(annotations))?;
    let scene = Scene::new(lab, &[])?;
    let pod = scene.plain_pod("sip-1")?;
    Ok((scene, pod))
}

/// Addresses of a Service as the helper tells them, IPv4 first.
pub(crate) fn addresses(helper: &Helper<'_>, service: &str) -> Result<[IpAddr; 2]> {
    let name = format!("default/{service}");
    let of = |status: &Value| -> Option<[IpAddr; 2]> {
        let entry = status["addresses"].as_array()?.iter().find(|entry| entry["service"] == name.as_str())?.clone();
        let list = entry["addresses"].as_array()?.iter().filter_map(|a| a.as_str()?.parse().ok()).collect::<Vec<_>>();
        list.try_into().ok()
    };
    let status = helper.await_status(SOON, "two addresses", |status| of(status).is_some())?;
    of(&status).context("they were there")
}

/// Every flow arrives by the router with the Service's address.
pub(crate) fn leave_as(lab: &Lab, pod: &Pod, (router, source): (&str, [IpAddr; 2])) -> Result<()> {
    flows().into_iter().try_for_each(|flow| {
        let source = source[usize::from(flow.to.is_ipv6())];
        leaves_as(lab, &pod.namespace, flow, (router, source))
    })
}

/// Packets that came from the node at a router with a source other than these.
pub(crate) fn strangers(capture: &Capture, allowed: [IpAddr; 2]) -> Result<usize> {
    let is_strange = |c: &Captured| {
        let is_ours = c.device == "node" && c.is_incoming && c.packet.destination_port == 7000;
        is_ours && !allowed.contains(&c.packet.source)
    };
    capture.count(is_strange)
}
