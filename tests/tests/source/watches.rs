//! What is in the API is in force; what left it unseen is gone too.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use sortie_testkit::helper::NODE;
use sortie_testkit::lab::{server4, server6};
use sortie_testkit::{Flow, PodSpec, manifest, until};
use sortie_tests::api::pod;
use sortie_tests::expect::{leaves_by, leaves_by_soon};
use sortie_tests::scene::SOON;

use super::{policy, with_api};

#[test]
fn what_was_deleted_while_the_watch_was_down_is_gone() -> Result<()> {
    with_api(|lab, mut scene| {
        scene.admin.apply(&manifest::all(&[policy(), pod("phone", "sip", NODE)]))?;
        let mut helper = scene.helper()?;
        let phone = scene.network()?.pod(PodSpec::new("phone"))?;
        for to in [server4(7000), server6(7000)] {
            leaves_by(lab, &phone.namespace, Flow::udp(5060, to), "b")?;
        }
        scene.api.stop();
        helper.await_condition(SOON, "Kubernetes API")?;
        leaves_by(lab, &phone.namespace, Flow::udp(5061, server4(7000)), "b")?;
        // An API server that was started anew has no history: the watch begins anew too.
        helper.process().signal(Signal::SIGSTOP)?;
        scene.api.resume()?;
        scene.admin.run(&["delete", "egp", "sip"])?;
        helper.process().signal(Signal::SIGCONT)?;
        leaves_by_soon(&phone.namespace, Flow::udp(5062, server4(7000)), "a")?;
        helper.await_status(SOON, "no trouble", |status| !status.to_string().contains("Kubernetes API"))?;
        Ok(())
    })
}

#[test]
fn an_object_that_becomes_invalid_keeps_its_last_good_state_and_is_named() -> Result<()> {
    with_api(|lab, scene| {
        let annotate = |value: &str| scene.admin.run(&["annotate", "--overwrite", "namespace", "default", value]);
        annotate("sortie.dev/route=b")?;
        scene.admin.apply(&pod("plain", "plain", NODE))?;
        let helper = scene.helper()?;
        let plain = scene.network()?.pod(PodSpec::new("plain"))?;
        leaves_by(lab, &plain.namespace, Flow::udp(5060, server4(7000)), "b")?;
        annotate("sortie.dev/route=Not A Name")?;
        let condition = helper.await_condition(SOON, "Namespace default: Accepted=False")?;
        ensure!(condition.contains("sortie.dev/route"), "{condition}");
        leaves_by(lab, &plain.namespace, Flow::udp(5061, server4(7000)), "b")?;
        annotate("sortie.dev/route=c")?;
        leaves_by_soon(&plain.namespace, Flow::udp(5062, server4(7000)), "c")?;
        annotate("sortie.dev/route-")?;
        leaves_by_soon(&plain.namespace, Flow::udp(5063, server4(7000)), "a")
    })
}

/// It is of no node yet, so that no watch of this node ever shows it.
#[test]
fn a_pod_that_is_faster_than_the_watch_is_asked_for() -> Result<()> {
    with_api(|lab, scene| {
        scene.admin.apply(&manifest::all(&[policy(), pod("early", "sip", "")]))?;
        let _helper = scene.helper()?;
        let network = scene.network()?;
        let early = network.pod(PodSpec::new("early"))?;
        leaves_by(lab, &early.namespace, Flow::udp(5060, server4(7000)), "b")?;
        // A busy API server may be too slow for one ADD; a kubelet tries again.
        let mut refused = String::new();
        until(Duration::from_secs(60), "the API to say that there is no such pod", || {
            refused = network.pod(PodSpec::new("nobody")).err().map(|error| format!("{error:#}")).unwrap_or_default();
            !refused.contains("not known yet") || refused.contains("no such pod")
        })?;
        ensure!(refused.contains("not known yet"), "{refused}");
        network.pod(PodSpec::new("elsewhere").namespace("kube-public"))?;
        Ok(())
    })
}
