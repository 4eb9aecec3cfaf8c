//! Places and files of the helper.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sortie_testkit::lab::servers;
use sortie_testkit::net::memory;
use sortie_testkit::{Flow, Helper, Lab, Pod, PodSpec, kernel};
use sortie_tests::expect::leaves_by;
use sortie_tests::{Scene, scenario};

const END: Duration = Duration::from_secs(10);

/// A helper that must not start ends soon and says why.
fn refuses(lab: &Lab, flags: &[&str], named: &[&str]) -> Result<()> {
    let mut helper = Helper::launch(lab, flags)?;
    let before = helper.log().len();
    let status = helper.process().wait(END)?;
    let said = helper.log();
    ensure!(!status.success(), "it ended with success: {said}");
    for word in named {
        ensure!(said.contains(word), "expected {word:?} in {}", &said[before.min(said.len()) / 2..]);
    }
    Ok(())
}

fn still_works(lab: &Lab, pod: &Pod) -> Result<()> {
    for to in servers(7000) {
        leaves_by(lab, &pod.namespace, Flow::udp(5060, to), "b")?;
        leaves_by(lab, &pod.namespace, Flow::tcp(5061, to), "b")?;
    }
    Ok(())
}

#[test]
fn a_second_helper_on_the_same_state_is_refused_and_the_first_goes_on() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("chosen", "b")?;
        refuses(lab, &[], &["another helper", "state"])?;
        assert_eq!(scene.helper.status()?["ready"], true);
        scene.pod_by("next", "c")?;
        still_works(lab, &pod)
    })
}

#[test]
fn a_socket_that_belongs_to_somebody_else_is_left_alone() -> Result<()> {
    scenario(|lab| {
        let path = lab.path("helper.sock");
        let _theirs = UnixListener::bind(&path).context("cannot bind")?;
        chown(&path, Some(65_534), Some(65_534)).context("cannot give the socket away")?;
        refuses(lab, &[], &["helper.sock", "--socket"])?;
        ensure!(std::fs::metadata(&path).is_ok(), "the socket was removed");
        Ok(())
    })
}

#[test]
fn numbers_that_overlap_with_our_own_are_refused_by_flag() -> Result<()> {
    scenario(|lab| {
        refuses(lab, &["--table-range", "10900-11010"], &["--table-range", "11000"])?;
        refuses(lab, &["--table-range", "200-300"], &["--table-range"])?;
        refuses(lab, &["--packet-mark", "0x3"], &["--packet-mark"])?;
        refuses(lab, &["--steering", "fly"], &["--steering", "fly"])?;
        ensure!(kernel::own_table(&lab.node)?.is_none() && kernel::own_rules(&lab.node, "-4")?.is_empty());
        Ok(())
    })
}

#[test]
fn spoilt_state_files_are_moved_aside_and_running_pods_see_nothing() -> Result<()> {
    scenario(|lab| {
        let mut scene = Scene::new(lab, &[])?;
        let (first, second) = (scene.pod_by("first", "b")?, scene.cni.pod(PodSpec::new("second").with("route", "b"))?);
        scene.helper.kill9()?;
        let mut files = vec![lab.path("data").join("tables"), lab.path("data").join("world.json")];
        files.extend(["allocation.json", "sysctl.json"].map(|name| lab.path("state").join(name)));
        for file in &files {
            ensure!(file.is_file(), "{} is not there", file.display());
            std::fs::write(file, "{\"half\": ").context("cannot spoil a file")?;
        }
        scene.helper.restart()?;
        let said = scene.helper.log();
        for file in &files {
            ensure!(said.contains(&file.display().to_string()), "no word of {}", file.display());
        }
        still_works(lab, &first)?;
        scene.cni.del(&first)?;
        scene.pod_by("third", "c")?;
        leaves_by(lab, &second.namespace, Flow::udp(5070, servers(7000)[0]), "b")
    })
}

#[test]
fn a_spoilt_attachment_is_moved_aside_and_its_pod_does_not_leak() -> Result<()> {
    scenario(|lab| {
        let mut scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("chosen", "b")?;
        let wrong = sortie_testkit::Capture::start(lab.router("a"))?;
        scene.helper.kill9()?;
        let folder = lab.path("state").join("attachments");
        for entry in std::fs::read_dir(&folder).context("cannot list attachments")? {
            std::fs::write(entry?.path(), "nonsense").context("cannot spoil a file")?;
        }
        scene.helper.restart()?;
        ensure!(scene.helper.log().contains("attachments"), "no word of it");
        for to in servers(7000) {
            let seen = lab.ask(&pod.namespace, Flow::udp(5060, to))?;
            ensure!(seen.as_ref().is_none_or(|seen| seen.door == "b"), "{to}: {seen:?}");
        }
        let strayed = wrong.count(|c| c.device == "node" && c.is_incoming && c.packet.destination_port == 7000)?;
        assert_eq!(strayed, 0);
        Ok(())
    })
}

/// A file system of 256 KiB that is full.
#[test]
fn a_full_disk_fails_only_pods_that_ask_and_tells_them() -> Result<()> {
    scenario(|lab| {
        let state = lab.net().scratch().folder("state")?;
        lab.node.with(|| memory(&state, "size=256k,mode=700"))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("chosen", "b")?;
        let ballast = state.join("ballast");
        // The file ends with an error when the disk is full.
        let is_full = lab.node.with(|| Ok(std::fs::write(&ballast, vec![0; 1 << 20]).is_err()))?;
        ensure!(is_full, "the disk is not full");
        let Err(error) = scene.pod_by("late", "b") else { anyhow::bail!("ADD succeeded on a full disk") };
        let text = format!("{error:#}");
        ensure!(text.contains("No space left"), "{text}");
        let plain = scene.plain_pod("plain")?;
        leaves_by(lab, &plain.namespace, Flow::udp(5060, servers(7000)[0]), "a")?;
        still_works(lab, &pod)?;
        lab.node.with(|| std::fs::remove_file(&ballast).context("cannot remove the ballast"))?;
        let last = scene.pod_by("last", "b")?;
        leaves_by(lab, &last.namespace, Flow::udp(5062, servers(7000)[0]), "b")?;
        scene.cni.del(&pod)
    })
}

#[test]
fn manifests_others_may_write_are_not_read_without_a_word() -> Result<()> {
    scenario(|lab| {
        let folder = lab.path("manifests");
        std::fs::create_dir(folder.join("nested.yaml")).context("cannot create a folder")?;
        std::fs::write(folder.join("unreadable.yaml"), [0xff, 0xfe, 0x00]).context("cannot write")?;
        std::fs::set_permissions(folder.join("unreadable.yaml"), std::fs::Permissions::from_mode(0o600))?;
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("chosen", "b")?;
        scene.helper.await_condition(END, "unreadable.yaml")?;
        still_works(lab, &pod)
    })
}
