//! Metrics and probes of a running helper, compared with what the kernel says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where its assumption does")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::server4;
use sortie_testkit::{Flow, Lab, kernel, poll, probe, until};
use sortie_tests::scenario;
use sortie_tests::scene::{SOON, Scene};

const AT: &str = "127.0.0.1:7344";
const FLAGS: [&str; 2] = ["--metrics-addr", AT];

/// Status and body of an answer.
fn got(lab: &Lab, path: &str) -> Result<(u16, String)> {
    let text = lab.node.with(|| {
        let at: SocketAddr = AT.parse()?;
        let mut stream = TcpStream::connect_timeout(&at, SOON)?;
        stream.set_read_timeout(Some(SOON * 3))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {AT}\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })?;
    let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
    Ok((status, body.to_owned()))
}

/// A sample by its name and labels, as it is written.
fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn await_sample(lab: &Lab, name: &str, wanted: impl Fn(f64) -> bool) -> Result<f64> {
    let mut last = None;
    let found = poll(SOON, name, || {
        last = got(lab, "/metrics").ok().and_then(|(_, text)| sample(&text, name));
        last.filter(|value| wanted(*value))
    });
    found.with_context(|| format!("last {last:?}"))
}

#[test]
fn metrics_say_what_the_kernel_says() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &FLAGS)?;
        let pod = scene.pod_by("phone", "b")?;
        await_sample(lab, "sortie_selected_attachments", |count| count == 1.0)?;
        let (status, text) = got(lab, "/metrics")?;
        ensure!(status == 200 && text.ends_with("# EOF\n"), "{text}");
        let expected = |name: &str, value: usize| {
            let found = sample(&text, name);
            ensure!(found == Some(value as f64), "{name} is {found:?} and should be {value}\n{text}");
            Ok(())
        };
        let both = |read: fn(&_, &str) -> Result<Vec<serde_json::Value>>| {
            Ok::<_, anyhow::Error>(read(&lab.node, "-4")?.len() + read(&lab.node, "-6")?.len())
        };
        expected("sortie_programmed_objects{kind=\"rule\"}", both(kernel::own_rules)?)?;
        expected("sortie_programmed_objects{kind=\"route\"}", both(kernel::own_routes)?)?;
        expected("sortie_attachments", 1)?;
        expected("sortie_add_duration_seconds_count{outcome=\"added\"}", 1)?;
        expected("sortie_route_next_hops{route=\"b\",state=\"usable\"}", 2)?;
        expected("sortie_open_routes", 2)?;
        // Dropped: there is no device any more.
        lab.node.ip("link set eth1 down")?;
        await_sample(lab, "sortie_open_routes", |open| open == 1.0)?;
        let flow = Flow::udp(5060, server4(7000));
        for _ in 0..3 {
            ensure!(probe(&pod.namespace, flow, Duration::from_millis(50))?.is_none(), "it leaves");
        }
        let counters = ["drop_closed", "drop_no_exit", "drop_guard", "drop_stale", "drop_untracked"];
        until(SOON, "equal counters", || {
            let Ok((_, text)) = got(lab, "/metrics") else { return false };
            let in_kernel: Vec<f64> =
                counters.iter().filter_map(|c| kernel::counter(&lab.node, c).ok()).map(|n| n as f64).collect();
            let told: Vec<f64> = counters
                .iter()
                .filter_map(|c| sample(&text, &format!("sortie_dropped_packets_total{{reason=\"{c}\"}}")))
                .collect();
            told == in_kernel && in_kernel.iter().sum::<f64>() >= 3.0
        })?;
        let repairs = await_sample(lab, "sortie_repairs_total", |_| true)?;
        lab.node.run("nft", &["delete", "table", "inet", "sortie"])?;
        await_sample(lab, "sortie_repairs_total", |now| now > repairs)?;
        Ok(())
    })
}

#[test]
fn probes_answer_and_a_slow_client_hinders_nobody() -> Result<()> {
    scenario(|lab| {
        let slow = |lab: &Lab| lab.node.with(|| Ok::<_, anyhow::Error>(TcpStream::connect(AT)?));
        let mut scene = Scene::new(lab, &FLAGS)?;
        let crowd: Vec<TcpStream> = (0..20).map(|_| slow(lab)).collect::<Result<_>>()?;
        for mut stream in &crowd {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHo")?;
        }
        until(SOON, "readiness", || got(lab, "/readyz").is_ok_and(|(status, _)| status == 200))?;
        ensure!(got(lab, "/healthz")?.0 == 200 && got(lab, "/metrics")?.0 == 200, "the helper does not answer");
        let pod = scene.pod_by("phone", "b")?;
        drop(pod);
        crowd.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        // Without any network of the cluster the helper is alive and not ready.
        scene.helper.stop()?;
        lab.manifest("node.yaml", "")?;
        std::fs::remove_dir_all(lab.path("data"))?;
        let mut flags = FLAGS.to_vec();
        flags.extend(["--log-level", "debug"]);
        let _bare = sortie_testkit::Helper::launch(lab, &flags)?;
        until(Duration::from_secs(10), "liveness", || got(lab, "/healthz").is_ok_and(|(status, _)| status == 200))?;
        let (status, why) = got(lab, "/readyz")?;
        ensure!(status == 503, "{why}");
        Ok(())
    })
}

#[test]
fn nothing_listens_unless_it_is_asked_for() -> Result<()> {
    scenario(|lab| {
        let _scene = Scene::new(lab, &[])?;
        ensure!(got(lab, "/metrics").is_err(), "something answers");
        let sockets = lab.node.run("ss", &["-Hltn"])?;
        ensure!(!sockets.contains("7344"), "{sockets}");
        Ok(())
    })
}
