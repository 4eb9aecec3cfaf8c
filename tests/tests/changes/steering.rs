//! `--steering rules | marks | auto`.

use std::time::Duration;

use anyhow::{Result, ensure};
use sortie_testkit::lab::servers;
use sortie_testkit::{Capture, Flow, Pod, PodSpec, Stream, Transport, kernel};
use sortie_tests::expect::leaves_by;
use sortie_tests::scene::SOON;
use sortie_tests::{Scene, scenario};

/// Priorities of the rules that exist per pod.
const PER_POD: [u64; 2] = [1300, 1310];

fn per_pod_rules(lab: &sortie_testkit::Lab) -> Result<usize> {
    let rules = kernel::own_rules(&lab.node, "-4")?;
    Ok(rules.iter().filter(|rule| rule["priority"].as_u64().is_some_and(|p| PER_POD.contains(&p))).count())
}

#[test]
fn rules_always_has_rules_of_the_pod_and_marks_never() -> Result<()> {
    for (mode, expected) in [("rules", 2), ("marks", 0)] {
        scenario(|lab| {
            let scene = Scene::new(lab, &["--steering", mode])?;
            let spec = PodSpec::new("chosen").with("route", "b").with("ports", "udp:5060-5070");
            let pod = scene.cni.pod(spec)?;
            assert_eq!(per_pod_rules(lab)?, expected, "{mode}");
            if expected > 0 {
                let rules = lab.node.run("ip", &["rule"])?;
                let own = format!("from {} ", pod.ip4()?);
                let line = rules.lines().find(|line| line.contains(&own) && line.starts_with("1300:"));
                let line = line.unwrap_or_default();
                ensure!(line.contains("ipproto udp") && line.contains("sport 5060-5070"), "{rules}");
                ensure!(line.contains("lookup 10000") && line.contains("proto 155"), "{rules}");
            }
            for to in servers(7000) {
                leaves_by(lab, &pod.namespace, Flow::udp(5070, to), "b")?;
                leaves_by(lab, &pod.namespace, Flow::udp(5071, to), "a")?;
            }
            assert_eq!(scene.helper.status()?["steering"], mode);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn auto_gives_up_rules_above_the_limit_and_takes_them_back_below_it() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &["--steering", "auto", "--rules-max", "4"])?;
        let first = scene.pod_by("first", "b")?;
        let second = scene.pod_by("second", "b")?;
        assert_eq!(per_pod_rules(lab)?, 4);
        let third = scene.pod_by("third", "b")?;
        scene.helper.await_status(SOON, "marks", |status| status["steering"] == "marks")?;
        sortie_testkit::until(SOON, "no rules of pods", || per_pod_rules(lab).is_ok_and(|count| count == 0))?;
        for (pod, port) in [(&first, 4000), (&second, 4001), (&third, 4002)] {
            works(lab, (pod, port))?;
        }
        scene.cni.del(&third)?;
        scene.helper.await_status(SOON, "rules", |status| status["steering"] == "rules")?;
        sortie_testkit::until(SOON, "rules of two pods", || per_pod_rules(lab).is_ok_and(|count| count == 4))?;
        works(lab, (&first, 4003))?;
        works(lab, (&second, 4004))
    })
}

/// Each pod has a port of its own: behind one address a second pod with the same one would get another.
fn works(lab: &sortie_testkit::Lab, (pod, port): (&Pod, u16)) -> Result<()> {
    for to in servers(7000) {
        for transport in Transport::ALL {
            leaves_by(lab, &pod.namespace, Flow { transport, port, to }, "b")?;
        }
    }
    Ok(())
}

/// The helper comes back with another mode, twice, while traffic runs: nothing is lost, nothing strays.
#[test]
fn switching_under_traffic_loses_nothing() -> Result<()> {
    scenario(|lab| {
        let mut scene = Scene::new(lab, &["--steering", "rules"])?;
        let pod = scene.pod_by("chosen", "b")?;
        let wrong = Capture::start(lab.router("a"))?;
        let all = |to| [Flow::udp(5060, to), Flow::tcp(8000, to), Flow::sctp(2905, to)];
        let flows: Vec<Flow> = servers(7000).into_iter().flat_map(all).collect();
        let stream = Stream::start(&pod.namespace, &flows, Duration::from_millis(3))?;
        stream.answered(20, SOON)?;
        for (mode, expected) in [("marks", 0), ("rules", 2)] {
            scene.helper.kill9()?;
            scene.helper.relaunch(&["--steering", mode])?;
            sortie_testkit::until(SOON, "the rules of the mode", || per_pod_rules(lab).is_ok_and(|n| n == expected))?;
            stream.answered(50, SOON)?;
        }
        let tallies = stream.stop();
        for (flow, tally) in &tallies {
            let is_tcp = flow.transport == Transport::Tcp;
            ensure!(!is_tcp || tally.connections == 1, "{flow}: {} connections", tally.connections);
            // The last requests may still be on their way; of a TCP flow several are answered at once.
            ensure!(
                is_tcp || tally.sent - tally.answered <= 3,
                "{flow}: {} of {} answered",
                tally.answered,
                tally.sent
            );
        }
        let strayed = wrong.count(|c| c.device == "node" && c.is_incoming && c.packet.destination_port == 7000)?;
        assert_eq!(strayed, 0);
        Ok(())
    })
}
