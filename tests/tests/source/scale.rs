//! Many pods of other nodes.

use anyhow::{Context, Result, ensure};
use sortie_testkit::helper::NODE;
use sortie_testkit::{Helper, PodSpec};
use sortie_tests::api::{ApiScene, pod};

use super::{policy, with_api};

/// Pods of other nodes.
const PODS: usize = 10_000;
/// kubectl limits itself: several of them at once do not wait.
const WRITERS: usize = 8;
/// What they may cost, in KiB; whole pods would cost 100 times as much.
const COST: u64 = 4096;
/// What a pod carries around that nobody reads.
const BALLAST: usize = 4000;

#[test]
fn ten_thousand_pods_of_other_nodes_cost_this_one_nothing() -> Result<()> {
    with_api(|_, scene| {
        scene.admin.apply(&policy())?;
        let mut helper = scene.helper()?;
        let before = peak(&mut helper)?;
        create(&scene)?;
        let listed = scene.admin.run(&["get", "--raw", "/api/v1/pods?limit=1"])?;
        let listed: serde_json::Value = serde_json::from_str(&listed)?;
        let more = listed["metadata"]["remainingItemCount"].as_u64().unwrap_or_default();
        ensure!(more + 1 >= PODS as u64, "only {more} pods were created");
        scene.admin.apply(&pod("own", "sip", NODE))?;
        scene.network()?.pod(PodSpec::new("own"))?;
        let running = peak(&mut helper)?;
        // The first list is the hardest.
        helper.kill9()?;
        helper.restart()?;
        let restarted = peak(&mut helper)?;
        eprintln!("peak memory in KiB: alone {before}, with {PODS} pods elsewhere {running}, restarted {restarted}");
        ensure!(running <= before + COST && restarted <= before + COST, "{before} {running} {restarted}");
        Ok(())
    })
}

fn create(scene: &ApiScene<'_>) -> Result<()> {
    let ballast = "x".repeat(BALLAST);
    let list = |writer: usize| -> String {
        let one = |i: usize| pod(&format!("far-{i}"), "sip", &format!("other-{}", i % 100));
        let heavy = |text: String| {
            text.replace("namespace: default,", &format!("namespace: default, annotations: {{a: {ballast}}},"))
        };
        (writer..PODS).step_by(WRITERS).map(one).map(heavy).collect::<Vec<_>>().join("---\n")
    };
    let created: Vec<Result<String>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    let file = scene.lab.path(&format!("pods-{writer}.yaml"));
                    std::fs::write(&file, list(writer))?;
                    scene.admin.run(&["create", "--validate=false", "-f", &file.to_string_lossy()])
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap_or_else(|_| anyhow::bail!("a writer panicked"))).collect()
    });
    created.into_iter().collect::<Result<Vec<_>>>().map(drop)
}

/// Most memory that was ever resident, in KiB.
fn peak(helper: &mut Helper<'_>) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", helper.process().id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    line.trim().trim_end_matches(" kB").parse().context("VmHWM is no number")
}
