//! Telephone calls, made by SIPp on both ends.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sortie_testkit::cluster::manifests;
use sortie_testkit::{Captured, Namespace, Process};

use super::stage::{AGREE, COUNT, everybody, left, others, pod_address, running, servers, vips};

/// Where the far end takes calls.
const CALLEE: u16 = 5080;
/// Longest time for a call, with the repetitions of what a takeover loses.
const CALL: Duration = Duration::from_secs(30);

/// SIPp with one of our scenarios, for one call, at an address of its own.
fn sipp(namespace: &Namespace, (name, address): (&str, IpAddr), folder: &Path) -> Result<Process> {
    let family = usize::from(address.is_ipv6());
    let scenario = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(format!("{name}.xml"));
    let mut command = Command::new("sipp");
    command.current_dir(folder).arg("-sf").arg(scenario);
    command.args(["-i", &address.to_string(), "-m", "1", "-nostdin", "-timeout", "30s", "-trace_err", "-cp", "0"]);
    command.args(["-key", "vip", &host(vips()[family])]);
    if name == "caller" {
        command.args(["-p", "5060", &SocketAddr::new(servers()[family].ip(), CALLEE).to_string()]);
    } else {
        command.args(["-p", &CALLEE.to_string()]);
    }
    Process::start(namespace, &mut command, &folder.join(format!("{name}.log")))
}

/// As it stands in a name of SIP (RFC 3261 section 25.1).
fn host(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

#[test]
fn a_call_from_a_pod_of_another_node_survives_the_end_of_the_owner() -> Result<()> {
    a_call_survives(0)
}

#[test]
fn a_call_by_ipv6_from_a_pod_of_another_node_survives_the_end_of_the_owner() -> Result<()> {
    a_call_survives(1)
}

/// By version 4 or 6, as `family` is 0 or 1.
fn a_call_survives(family: usize) -> Result<()> {
    let (far, vip) = (servers()[family].ip(), vips()[family]);
    let (cluster, capture) = running(&manifests(COUNT))?;
    let owner = cluster.await_owner(&everybody(&cluster), AGREE)?;
    let node = others(owner)[0];
    let folder = tempfile::tempdir().context("no folder")?;
    let mut callee = sipp(&cluster.server, ("callee", far), folder.path())?;
    let own = pod_address(node, far);
    let mut caller = sipp(&cluster.nodes[node - 1].pod, ("caller", own), folder.path())?;
    // Requests of the far end, within the call.
    let inquiry = |c: &Captured| c.device == "bo" && c.is_incoming && c.packet.payload.starts_with(b"INFO ");
    capture.wait_for(AGREE, "requests within the call", inquiry).with_context(|| caller.log())?;
    cluster.signal(owner, Signal::SIGKILL)?;
    cluster.await_owner(&others(owner), AGREE)?;
    for (who, end) in [("caller", &mut caller), ("callee", &mut callee)] {
        let status = end.wait(CALL).with_context(|| format!("{who}\n{}\n{}", end.log(), cluster.logs()))?;
        ensure!(status.success(), "{who}: {status}\n{}", end.log());
    }
    let strays: Vec<_> = left(&capture)?.into_iter().filter(|(_, source)| *source != vip).collect();
    assert_eq!(strays, Vec::new());
    let after = capture.packets()?.into_iter().filter(inquiry).count();
    ensure!(after >= 10, "only {after} requests within the call");
    Ok(())
}
