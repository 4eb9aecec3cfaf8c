//! Somebody removes our state, or our helper.

use anyhow::{Context, Result, ensure};
use sortie_testkit::{Lab, PodSpec, kernel, until};
use sortie_tests::scene::SOON;
use sortie_tests::{Scene, scenario};

use super::in_both_modes;
use super::watch::{PORTS, WINDOW, Watch, goes_by, traffic};

in_both_modes!(helper_killed, rules_flushed, table_deleted, ruleset_flushed, rules_and_ruleset_flushed_at_once,);

/// How often each loss is repeated; the median window counts, because the machine may be busy with other tests.
const ROUNDS: usize = 3;

/// What remains of the promise when our last means is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// Nothing leaks.
    Nothing,
    /// What leaks stops within [`WINDOW`].
    ShortWindow,
}

/// Traffic runs, `remove` happens, the promise holds, and everything is as before.
fn loss(mode: &str, (what, promise): (&str, Promise), remove: impl Fn(&Lab) -> Result<()>) -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &["--steering", mode])?;
        let pod = scene.cni.pod(PodSpec::new("chosen").with("route", "b").with("ports", PORTS))?;
        let (watch, stream) = (Watch::start(lab)?, traffic(&pod)?);
        goes_by(&stream, "b")?;
        let before = kernel::own_state(&lab.node)?;
        let mut windows = Vec::new();
        for _ in 0..ROUNDS {
            watch.clear()?;
            remove(lab)?;
            until(SOON, "the repair", || kernel::own_state(&lab.node).is_ok_and(|now| now == before))
                .with_context(|| differs(lab, &before))?;
            goes_by(&stream, "b")?;
            if promise == Promise::Nothing {
                watch.nothing_leaked(&["b"])?;
            }
            windows.push(watch.window(&["b"])?);
        }
        windows.sort();
        eprintln!("{what}, {mode}: window and packets {windows:?}");
        let (window, count) = windows[ROUNDS / 2];
        ensure!(window < WINDOW, "{what}: {count} packets leaked within {} ms", window.as_millis());
        Ok(())
    })
}

fn differs(lab: &Lab, before: &std::collections::BTreeSet<String>) -> String {
    let now = kernel::own_state(&lab.node).unwrap_or_default();
    format!("missing: {:#?}\nnew: {:#?}", before.difference(&now), now.difference(before))
}

const FLUSH_RULES: &str = "rule flush protocol 155\n-6 rule flush protocol 155";

fn rules_flushed(mode: &str) -> Result<()> {
    loss(mode, ("our rules flushed", Promise::Nothing), |lab| lab.node.ip(FLUSH_RULES))
}

fn table_deleted(mode: &str) -> Result<()> {
    let promise = if mode == "marks" { Promise::ShortWindow } else { Promise::Nothing };
    loss(mode, ("our nft table deleted", promise), |lab| lab.node.nft("delete table inet sortie"))
}

fn ruleset_flushed(mode: &str) -> Result<()> {
    let promise = if mode == "marks" { Promise::ShortWindow } else { Promise::Nothing };
    loss(mode, ("nft flush ruleset", promise), |lab| lab.node.nft("flush ruleset"))
}

fn rules_and_ruleset_flushed_at_once(mode: &str) -> Result<()> {
    loss(mode, ("rules and nft flushed at once", Promise::ShortWindow), |lab| {
        let script = "nft flush ruleset & ip rule flush protocol 155 & ip -6 rule flush protocol 155 & wait";
        lab.node.run("sh", &["-c", script]).map(drop)
    })
}

/// Running flows see nothing, neither of the end nor of the next start.
fn helper_killed(mode: &str) -> Result<()> {
    scenario(|lab| {
        let mut scene = Scene::new(lab, &["--steering", mode])?;
        let pod = scene.cni.pod(PodSpec::new("chosen").with("route", "b").with("ports", PORTS))?;
        let (watch, stream) = (Watch::start(lab)?, traffic(&pod)?);
        goes_by(&stream, "b")?;
        let (before, connections) = (kernel::own_state(&lab.node)?, stream.tallies());
        scene.helper.kill9()?;
        goes_by(&stream, "b")?;
        scene.helper.restart()?;
        goes_by(&stream, "b")?;
        assert_eq!(kernel::own_state(&lab.node)?, before);
        for (flow, tally) in stream.stop() {
            let opened = connections.get(&flow).map_or(0, |tally| tally.connections);
            assert_eq!(tally.connections, opened, "{flow}: a connection was broken");
        }
        watch.nothing_leaked(&["b"])
    })
}
