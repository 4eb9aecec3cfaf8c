//! A node at work: upgrades, rights, the end.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sortie_testkit::{
    Cni, Flow, Helper, Lab, Main, Network, Pod, PodSpec, Process, command, helper, kernel, lab, programs, until,
};
use sortie_tests::expect::leaves_by;
use sortie_tests::scenario;

const FILE: &str = "pods.conflist";

/// The node's CNI without us, in the file that the runtime reads.
fn without_us<'a>(lab: &'a Lab) -> Result<(Cni<'a>, String)> {
    let network = Network::new(lab, Main::Bridge)?.portmap();
    let (cni, mut list) = (network.write()?, network.document());
    list["plugins"].as_array_mut().context("no plugins")?.pop();
    let text = serde_json::to_string_pretty(&list)?;
    fs::write(lab.path("net.d").join(FILE), &text)?;
    Ok((cni, text))
}

fn install(lab: &Lab, plugin: &Path) -> Result<()> {
    let scratch = lab.net().scratch();
    let settings: Value = json!({
        "helperSocket": helper::socket(lab), "stateDir": scratch.folder("state")?, "dataDir": scratch.folder("data")?,
    });
    let mut command = Command::new(programs::ours("sortie-helper")?);
    command.args(["install", "--net-conf", &settings.to_string(), "--cni-conf-dir"]).arg(lab.path("net.d"));
    command.arg("--cni-bin-dir").arg(scratch.folder("bin")?).arg("--plugin").arg(plugin);
    command::text(&mut command, "").map(drop)
}

/// A command of the runtime with the plugins of the node: the reference ones, and what was installed.
fn call(lab: &Lab, cni: &Cni<'_>, verb: &str, pod: &Pod) -> Result<()> {
    let mut command = cni.command(verb, pod)?;
    let path = command.get_envs().find(|(name, _)| *name == "CNI_PATH").and_then(|(_, value)| value);
    let tools = path.and_then(|path| path.to_str()?.split(':').next().map(str::to_owned)).context("no CNI_PATH")?;
    command.env("CNI_PATH", format!("{tools}:{}", lab.path("bin").display()));
    lab.node.with(|| command::text(&mut command, "")).map(drop)
}

#[test]
fn the_plugin_is_replaced_while_pods_start_and_no_start_fails() -> Result<()> {
    scenario(|lab| {
        let (cni, before) = without_us(lab)?;
        let (old, new) = (programs::ours("sortie")?, lab.path("sortie-next"));
        fs::copy(&old, &new)?;
        // Bytes behind an ELF file change nothing but its content.
        File::options().append(true).open(&new)?.write_all(b"next")?;
        install(lab, &old)?;
        let mut helper = Helper::start(lab, &[])?;
        let pods: Vec<Pod> =
            (0..4).map(|n| cni.sandbox(PodSpec::new(&format!("p{n}")).with("route", "b"))).collect::<Result<_>>()?;
        std::thread::scope(|scope| {
            let rounds = pods.iter().map(|pod| {
                scope.spawn(|| {
                    (0..3).try_for_each(|_| call(lab, &cni, "add", pod).and_then(|()| call(lab, &cni, "del", pod)))
                })
            });
            let rounds: Vec<_> = rounds.collect();
            let mut replaced = 0;
            while rounds.iter().any(|round| !round.is_finished()) {
                install(lab, if replaced % 2 == 0 { &new } else { &old })?;
                replaced += 1;
            }
            ensure!(replaced >= 2, "replaced {replaced} times only");
            rounds.into_iter().try_for_each(|round| round.join().unwrap_or_else(|_| Err(anyhow::anyhow!("panic"))))
        })?;
        call(lab, &cni, "add", &pods[0])?;
        leaves_by(lab, &pods[0].namespace, Flow::udp(5060, lab::server4(7000)), "b")?;
        call(lab, &cni, "del", &pods[0])?;
        helper.stop()?;
        everything_goes(lab, &before)
    })
}

fn everything_goes(lab: &Lab, before: &str) -> Result<()> {
    let scratch = lab.net().scratch();
    let mut command = Command::new(programs::ours("sortie-helper")?);
    command
        .arg("uninstall")
        .arg("--state-dir")
        .arg(scratch.folder("state")?)
        .arg("--data-dir")
        .arg(scratch.folder("data")?);
    command.arg("--socket").arg(helper::socket(lab)).arg("--cni-conf-dir").arg(lab.path("net.d"));
    command.arg("--cni-bin-dir").arg(lab.path("bin"));
    lab.node.with(|| command::text(&mut command, ""))?;
    assert_eq!(fs::read_to_string(lab.path("net.d").join(FILE))?, before);
    assert_eq!(fs::read_dir(lab.path("net.d"))?.count(), 1);
    assert_eq!(fs::read_dir(lab.path("bin"))?.count(), 0);
    ensure!(!lab.path("state").exists() && !lab.path("data").exists(), "files are left");
    let left = kernel::own_state(&lab.node)?;
    ensure!(left.is_empty(), "left in the kernel: {left:?}");
    Ok(())
}

/// What the manifest adds to no capabilities at all.
fn capabilities() -> Result<String> {
    let text = fs::read_to_string(programs::workspace().join("install/kustomize/daemonset.yaml"))?;
    let list = text.split("add: [").nth(1).and_then(|rest| rest.split(']').next()).context("no capabilities")?;
    Ok(list.split(", ").map(|name| format!(",+{}", name.to_lowercase())).collect())
}

#[test]
fn the_helper_needs_no_more_rights_than_the_manifest_gives_it() -> Result<()> {
    scenario(|lab| {
        let cni = Network::new(lab, Main::Bridge)?.write()?;
        let scratch = lab.net().scratch();
        let mut command = Command::new("setpriv");
        command.arg(format!("--bounding-set=-all{}", capabilities()?)).args(["--inh-caps=-all", "--no-new-privs"]);
        command.arg(programs::ours("sortie-helper")?).args(["run", "--node", helper::NODE, "--manifests"]);
        command.arg(scratch.folder("manifests")?).arg("--state-dir").arg(scratch.folder("state")?);
        command.arg("--data-dir").arg(scratch.folder("data")?).arg("--socket").arg(helper::socket(lab));
        let log = lab.path("helper.log");
        let process = Process::start(&lab.node, &mut command, &log)?;
        until(Duration::from_secs(20), "the socket", || helper::socket(lab).exists()).with_context(|| process.log())?;
        let bounding = fs::read_to_string(format!("/proc/{}/status", process.id()))?;
        let bounding = bounding.lines().find(|line| line.starts_with("CapBnd")).unwrap_or_default().to_owned();
        // CAP_NET_ADMIN is number 12, CAP_NET_RAW 13, CAP_SYS_NICE 23 (capabilities(7)).
        assert_eq!(bounding, "CapBnd:\t0000000000803000");
        ensure!(!process.log().contains("usual priority"), "{}", process.log());
        let pod = cni.pod(PodSpec::new("plain-rights").with("route", "b"))?;
        for flow in [Flow::udp(5060, lab::server4(7000)), Flow::tcp(5061, lab::server6(7000))] {
            leaves_by(lab, &pod.namespace, flow, "b")?;
        }
        cni.del(&pod)?;
        ensure!(!process.log().contains(" ERROR "), "{}", process.log());
        Ok(())
    })
}
