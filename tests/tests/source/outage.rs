//! A start while the API is away.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use sortie_testkit::helper::NODE;
use sortie_testkit::lab::server4;
use sortie_testkit::{Flow, PodSpec, kernel, manifest};
use sortie_tests::api::pod;
use sortie_tests::expect::{leaves_by, leaves_by_soon};
use sortie_tests::scene::SOON;

use super::{policy, with_api};

#[test]
fn a_start_without_the_api_goes_on_with_what_was_known() -> Result<()> {
    with_api(|lab, mut scene| {
        scene.admin.apply(&manifest::all(&[policy(), pod("phone", "sip", NODE)]))?;
        let mut helper = scene.helper()?;
        let network = scene.network()?;
        let phone = network.pod(PodSpec::new("phone"))?;
        let before = kernel::own_state(&lab.node)?;
        helper.kill9()?;
        scene.api.stop();
        helper.restart()?;
        assert_eq!(kernel::own_state(&lab.node)?, before);
        leaves_by(lab, &phone.namespace, Flow::udp(5060, server4(7000)), "b")?;
        let condition = helper.await_condition(SOON, "Kubernetes API")?;
        ensure!(condition.contains("what the last helper knew stays in force"), "{condition}");
        // Who may be selected by its labels does not start unseen; all others do.
        let refused = network.pod(PodSpec::new("second")).err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(refused.contains("not known yet"), "{refused}");
        network.pod(PodSpec::new("elsewhere").namespace("kube-public"))?;
        // An object that left in the meantime goes when everything was told.
        helper.kill9()?;
        scene.api.resume()?;
        scene.admin.run(&["delete", "egp", "sip"])?;
        helper.restart()?;
        leaves_by_soon(&phone.namespace, Flow::udp(5061, server4(7000)), "a")
    })
}

/// Nothing is known from before, and nothing may be concluded from silence.
#[test]
fn a_first_start_without_the_api_waits_and_touches_nothing() -> Result<()> {
    with_api(|lab, mut scene| {
        scene.api.stop();
        let before = kernel::own_state(&lab.node)?;
        let mut helper = scene.launch()?;
        sortie_testkit::until(SOON, "the helper to see it", || helper.log().contains("the Kubernetes API fails"))?;
        ensure!(helper.status().is_err(), "it is ready without knowing anything");
        assert_eq!(kernel::own_state(&lab.node)?, before);
        scene.api.resume()?;
        helper.await_ready()
    })
}

/// Each of them is asked for as long as its ADD may take, one after the other that would be far longer.
#[test]
fn pods_that_are_asked_for_in_vain_hold_up_nobody_else() -> Result<()> {
    with_api(|lab, scene| {
        scene.admin.apply(&manifest::all(&[policy(), pod("phone", "sip", NODE)]))?;
        let _helper = scene.helper()?;
        let network = &scene.network()?;
        scene.api.signal(Signal::SIGSTOP)?;
        let outcome = std::thread::scope(|scope| {
            let strangers: Vec<_> = (0..16)
                .map(|index| scope.spawn(move || network.pod(PodSpec::new(&format!("stranger{index}"))).err()))
                .collect();
            let phone = network.pod(PodSpec::new("phone"));
            let refused: Vec<_> = strangers.into_iter().map(|stranger| stranger.join().ok().flatten()).collect();
            (phone, refused)
        });
        scene.api.signal(Signal::SIGCONT)?;
        for refused in outcome.1 {
            let refused = refused.map(|error| format!("{error:#}")).unwrap_or_default();
            ensure!(refused.contains("not known yet") && refused.contains("does not answer"), "{refused}");
        }
        leaves_by(lab, &outcome.0?.namespace, Flow::udp(5060, server4(7000)), "b")
    })
}
