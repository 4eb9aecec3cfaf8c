//! Pods leave with the address of their Service.

use anyhow::{Result, ensure};
use sortie_testkit::lab::{server4, server6};
use sortie_testkit::{Capture, Flow, kernel, manifest};
use sortie_tests::expect::{is_dropped, is_dropped_soon, leaves_as, leaves_as_soon, leaves_by};
use sortie_tests::scene::SOON;
use sortie_tests::{Scene, scenario};

use super::stage::{PORTS, addresses, flows, leave_as, manifests, scene, strangers};

#[test]
fn target_ports_leave_by_the_services_route_with_its_address_from_the_first_packet() -> Result<()> {
    scenario(|lab| {
        lab.manifest("sip.yaml", &manifests("sortie.dev/route: b"))?;
        let scene = Scene::new(lab, &[])?;
        let vip = addresses(&scene.helper, "sip")?;
        let captures = [Capture::start(lab.router("a"))?, Capture::start(lab.router("b"))?];
        let pod = scene.plain_pod("sip-1")?;
        leave_as(lab, &pod, ("b", vip))?;
        for capture in &captures {
            assert_eq!(strangers(capture, vip)?, 0);
        }
        leaves_by(lab, &pod.namespace, Flow::udp(9999, server4(7000)), "a")
    })
}

#[test]
fn a_policy_lends_the_services_address_to_all_traffic_of_its_pods() -> Result<()> {
    scenario(|lab| {
        let policy = "podSelector: {matchLabels: {app: sip}}, route: c, source: {type: Service, serviceName: sip}";
        lab.manifest("policy.yaml", &manifest::policy("default", "all", policy))?;
        let (scene, pod) = scene(lab, "")?;
        let vip = addresses(&scene.helper, "sip")?;
        leave_as(lab, &pod, ("c", vip))?;
        leaves_as(lab, &pod.namespace, Flow::udp(9999, server4(7000)), ("c", vip[0]))?;
        leaves_as(lab, &pod.namespace, Flow::tcp(9998, server6(7000)), ("c", vip[1]))
    })
}

#[test]
fn without_a_route_the_address_leaves_by_the_main_table() -> Result<()> {
    for mode in ["rules", "marks"] {
        scenario(|lab| {
            lab.manifest("sip.yaml", &manifests("sortie.dev/egress: 'true'"))?;
            let scene = Scene::new(lab, &["--steering", mode])?;
            let vip = addresses(&scene.helper, "sip")?;
            let pod = scene.plain_pod("sip-1")?;
            leave_as(lab, &pod, ("a", vip))?;
            leaves_as(lab, &pod.namespace, Flow::udp(9999, server6(7000)), ("a", vip[1]))
        })?;
    }
    Ok(())
}

#[test]
fn one_pod_uses_the_addresses_of_several_services_by_port() -> Result<()> {
    scenario(|lab| {
        let web = "{protocol: TCP, port: 443, targetPort: 8443}";
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: sip-1, namespace: default, labels: {app: sip}}\n\
                   spec: {nodeName: node1}\n";
        let other = manifest::service("web", "sortie.dev/route: c", web).replace("app: web", "app: sip");
        let all = [manifest::pool(), manifest::service("sip", "sortie.dev/route: b", PORTS), other, pod.to_owned()];
        lab.manifest("all.yaml", &manifest::all(&all))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.plain_pod("sip-1")?;
        let (sip, web) = (addresses(&scene.helper, "sip")?, addresses(&scene.helper, "web")?);
        ensure!(sip != web, "two Services have one address");
        leave_as(lab, &pod, ("b", sip))?;
        leaves_as(lab, &pod.namespace, Flow::tcp(8443, server4(7001)), ("c", web[0]))?;
        leaves_as(lab, &pod.namespace, Flow::tcp(8443, server6(7001)), ("c", web[1]))
    })
}

#[test]
fn a_service_that_does_not_select_the_pod_lends_it_nothing() -> Result<()> {
    scenario(|lab| {
        let wish = "annotations: {sortie.dev/source: service/sip, sortie.dev/route: b}, labels: {app: other}";
        let thief = manifest::pod("thief", "other").replace("labels: {app: other}", wish);
        lab.manifest("thief.yaml", &thief)?;
        let (scene, _) = scene(lab, "sortie.dev/route: b")?;
        let refused = scene.plain_pod("thief").err().map_or_else(String::new, |e| format!("{e:#}"));
        ensure!(refused.contains("selector of Service default/sip does not match"), "{refused}");
        Ok(())
    })
}

#[test]
fn an_address_outside_the_pools_is_not_given_and_its_flows_are_dropped() -> Result<()> {
    scenario(|lab| {
        let annotations = "sortie.dev/route: b, sortie.dev/addresses: 192.0.2.10";
        let (scene, pod) = scene(lab, annotations)?;
        let condition = scene.helper.await_condition(SOON, "AddressNotAllowed")?;
        ensure!(condition.contains("192.0.2.10 is in no AddressPool"), "{condition}");
        for flow in flows() {
            is_dropped(&pod.namespace, flow)?;
        }
        leaves_by(lab, &pod.namespace, Flow::udp(9999, server4(7000)), "a")
    })
}

#[test]
fn another_address_moves_running_flows_and_no_address_drops_them() -> Result<()> {
    scenario(|lab| {
        let with = |address: &str| format!("sortie.dev/route: b, sortie.dev/addresses: '{address}'");
        let (scene, pod) = scene(lab, &with("203.0.113.7,2001:db8:f::7"))?;
        let flow = Flow::udp(5060, server4(7000));
        leaves_as(lab, &pod.namespace, flow, ("b", "203.0.113.7".parse()?))?;
        lab.manifest("sip.yaml", &manifests(&with("203.0.113.8")))?;
        leaves_as_soon(&pod.namespace, flow, ("b", "203.0.113.8".parse()?))?;
        is_dropped_soon(&pod.namespace, Flow::udp(5060, server6(7000)))?;
        lab.remove_manifest("sip.yaml")?;
        lab.manifest("pod.yaml", &manifest::pod("sip-1", "sip"))?;
        leaves_as_soon(&pod.namespace, flow, ("a", "10.10.0.11".parse()?))?;
        scene.helper.await_status(SOON, "no address", |s| s["addresses"].as_array().is_some_and(Vec::is_empty))?;
        ensure!(kernel::elements(&lab.node, "vips4")?.is_empty(), "an address is left");
        Ok(())
    })
}

#[test]
fn addresses_survive_a_restart_of_the_helper_and_a_change_of_order() -> Result<()> {
    scenario(|lab| {
        let (mut scene, pod) = scene(lab, "sortie.dev/route: b")?;
        let vip = addresses(&scene.helper, "sip")?;
        lab.manifest("early.yaml", &manifest::service("early", "", PORTS))?;
        addresses(&scene.helper, "early")?;
        scene.helper.kill9()?;
        scene.helper.restart()?;
        assert_eq!(addresses(&scene.helper, "sip")?, vip);
        leave_as(lab, &pod, ("b", vip))
    })
}
