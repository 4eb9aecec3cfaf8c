//! `doctor` finds what is wrong with a node, and finds nothing on one that works.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where its assumption does")]

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sortie_testkit::lab::servers;
use sortie_testkit::{Flow, Lab, command, helper, kernel, manifest, poll, programs};
use sortie_tests::expect::leaves_by;
use sortie_tests::scene::SOON;
use sortie_tests::{Scene, scenario};

/// Runs `doctor` on the node with these words more.
fn run(lab: &Lab, words: &[&str]) -> Result<Output> {
    let program = programs::ours("sortie-helper")?;
    let mut ask = Command::new(&program);
    ask.arg("doctor").arg("--socket").arg(helper::socket(lab)).arg("--cni-conf-dir").arg(lab.path("net.d"));
    ask.arg("--cni-bin-dir").arg(program.parent().context("no folder")?).args(words);
    lab.node.with(|| command::output(&mut ask, ""))
}

/// Its answer, whose status agrees with it.
fn told(lab: &Lab, words: &[&str]) -> Result<Value> {
    let output = run(lab, &[&["-o", "json"], words].concat())?;
    let told: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("no JSON: {output:?}"))?;
    assert_eq!(output.status.code(), Some(i32::from(told["ok"] != true)), "{told:#}");
    Ok(told)
}

fn findings(told: &Value, severity: &str) -> Vec<String> {
    let list = told["findings"].as_array().cloned().unwrap_or_default();
    list.iter().filter(|finding| finding["severity"] == severity).map(Value::to_string).collect()
}

/// There is a finding of this severity with all words, and it says what it means and what to do.
fn finds(told: &Value, severity: &str, words: &[&str]) -> Result<()> {
    let found = findings(told, severity).into_iter().find(|finding| words.iter().all(|word| finding.contains(word)));
    let found: Value =
        serde_json::from_str(&found.with_context(|| format!("no {severity} with {words:?}: {told:#}"))?)?;
    ensure!(
        ["meaning", "remedy"].iter().all(|key| found[*key].as_str().is_some_and(|text| !text.is_empty())),
        "{found}"
    );
    Ok(())
}

#[test]
fn a_node_that_works_has_no_error_and_looking_changes_nothing() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        let pod = scene.pod_by("chosen", "b")?;
        let before = (kernel::own_state(&lab.node)?, scene.helper.status()?["repairs"].clone());
        let told = told(lab, &[])?;
        assert_eq!(findings(&told, "error"), Vec::<String>::new());
        assert_eq!(findings(&told, "warning"), Vec::<String>::new());
        let checked = told["checked"].as_array().unwrap();
        for check in [
            "kernel",
            "nft",
            "table",
            "egress",
            "forwarding",
            "sourceCheck",
            "marks",
            "rules",
            "tables",
            "forward",
            "cni",
            "helper",
        ] {
            ensure!(checked.iter().any(|c| c == check), "{check} was not made: {told:#}");
        }
        assert_eq!((kernel::own_state(&lab.node)?, scene.helper.status()?["repairs"].clone()), before);
        for to in servers(7000) {
            leaves_by(lab, &pod.namespace, Flow::udp(4000, to), "b")?;
        }
        let text = run(lab, &[])?;
        ensure!(String::from_utf8_lossy(&text.stdout).contains("nothing prevents the work"), "{text:?}");
        Ok(())
    })
}

#[test]
fn a_fresh_node_without_helper_is_fit_for_one() -> Result<()> {
    scenario(|lab| {
        sortie_testkit::Network::new(lab, sortie_testkit::Main::Bridge)?.write()?;
        let told = told(lab, &[])?;
        assert_eq!(findings(&told, "error"), Vec::<String>::new());
        finds(&told, "note", &["helper", "no helper answers"])
    })
}

#[test]
fn switches_that_stop_packets_are_errors_with_the_command_that_mends_them() -> Result<()> {
    scenario(|lab| {
        let mut scene = Scene::new(lab, &[])?;
        scene.pod_by("chosen", "b")?;
        for (switch, word) in [
            ("net/ipv4/ip_forward", "sysctl -w net.ipv4.ip_forward=1"),
            ("net/ipv6/conf/all/forwarding", "sysctl -w net.ipv6.conf.all.forwarding=1"),
        ] {
            lab.node.sysctl(switch, "0")?;
            finds(&told(lab, &[])?, "error", &["forwarding", word])?;
            lab.node.sysctl(switch, "1")?;
        }
        scene.helper.kill9()?;
        lab.node.sysctl("net/ipv4/conf/eth1/src_valid_mark", "0")?;
        let told = told(lab, &[])?;
        finds(&told, "error", &["sourceCheck", "eth1", "src_valid_mark"])?;
        finds(&told, "error", &["helper", "no helper answers"])
    })
}

#[test]
fn what_others_do_to_our_marks_rules_and_tables_is_found() -> Result<()> {
    scenario(|lab| {
        let scene = Scene::new(lab, &[])?;
        scene.pod_by("chosen", "b")?;
        lab.node.nft(
            "table ip vpn { chain out { type filter hook prerouting priority -50; ip daddr 198.51.100.1 meta mark set 0x21; \
             ip daddr 198.51.100.2 meta mark set meta mark or 0x4000; ip daddr 198.51.100.3 ct mark set 0x00000100; }; }",
        )?;
        lab.node.ip("rule add pref 1000 lookup main\nrule add pref 2000 from 198.51.100.9 lookup 10500\nroute add 198.51.100.0/24 via 10.10.0.1 table 10600")?;
        let told_now = told(lab, &[])?;
        finds(&told_now, "error", &["rules", "pref 1000", "nothing leaves by a route"])?;
        finds(&told_now, "warning", &["rules", "lookup 10500"])?;
        finds(&told_now, "warning", &["tables", "10600"])?;
        finds(&told_now, "warning", &["marks", "nft chain ip vpn out", "packet mark", "--packet-mark"])?;
        finds(&told_now, "warning", &["marks", "connection mark"])?;
        let elsewhere = told(lab, &["--packet-mark", "0x3f000000", "--return-mark", "0x40000000"])?;
        let collisions =
            findings(&elsewhere, "warning").into_iter().filter(|f| f.contains("marks") && f.contains("0x4000 "));
        assert_eq!(collisions.count(), 0, "bits beside ours");
        lab.node.ip("rule del pref 1000")?;
        ensure!(told(lab, &[])?["ok"] == true);
        Ok(())
    })
}

/// Rules of iptables are seen whichever way it keeps them.
#[test]
fn marks_that_iptables_writes_are_found() -> Result<()> {
    scenario(|lab| {
        let _scene = Scene::new(lab, &[])?;
        lab.node.run("iptables", &["-t", "mangle", "-N", "KUBE-MARK-MASQ"])?;
        lab.node.run("iptables", &["-t", "mangle", "-A", "KUBE-MARK-MASQ", "-j", "MARK", "--or-mark", "0x4000"])?;
        let clean = told(lab, &[])?;
        ensure!(findings(&clean, "warning").is_empty(), "{clean:#}");
        lab.node.run("iptables", &["-t", "mangle", "-A", "FORWARD", "-p", "udp", "-j", "MARK", "--set-mark", "0x1"])?;
        finds(&told(lab, &[])?, "warning", &["marks", "chain FORWARD (iptables-save, -j MARK)"])
    })
}

#[test]
fn a_firewall_that_drops_the_tunnel_is_found_until_it_lets_it_pass() -> Result<()> {
    scenario(|lab| {
        lab.node.ip("link add sor0 type bridge\nlink set sor0 up")?;
        lab.node.nft("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }")?;
        finds(&told(lab, &[])?, "warning", &["forward", "chain ip filter FORWARD", "-i sor0 -j ACCEPT"])?;
        lab.node.nft("add rule ip filter FORWARD iifname sor0 accept")?;
        let told = told(lab, &[])?;
        ensure!(!findings(&told, "warning").iter().any(|f| f.contains("forward")), "{told:#}");
        Ok(())
    })
}

#[test]
fn a_configuration_that_does_not_pass_pods_through_us_is_found() -> Result<()> {
    scenario(|lab| {
        let _scene = Scene::new(lab, &[])?;
        let list = lab.path("net.d").join("pods.conflist");
        let good = std::fs::read_to_string(&list)?;
        let without =
            serde_json::json!({"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "bridge"}]}).to_string();
        for (text, word) in [
            (without.clone(), "no entry of type sortie"),
            (without.replace("bridge", "macvlan"), "pods do not pass the node's own stack"),
            (without.replace("bridge", "sortie"), "is the first plugin"),
        ] {
            std::fs::write(lab.path("net.d").join("00-first.conflist"), text)?;
            finds(&told(lab, &[])?, "error", &["cni", word])?;
        }
        std::fs::remove_file(lab.path("net.d").join("00-first.conflist"))?;
        let empty = lab.net().scratch().folder("empty")?;
        finds(&told(lab, &["--cni-bin-dir", empty.to_str().unwrap()])?, "error", &["cni", "the program is not there"])?;
        finds(&told(lab, &["--cni-conf-dir", empty.to_str().unwrap()])?, "warning", &["cni", "no configuration"])?;
        let nowhere = told(lab, &["--cni-conf-dir", "/nonexistent"])?;
        ensure!(nowhere["notChecked"]["cni"].as_str().unwrap().contains("--cni-conf-dir"), "{nowhere:#}");
        assert_eq!(std::fs::read_to_string(&list)?, good);
        Ok(())
    })
}

#[test]
fn settings_of_networkd_and_the_key_are_looked_at() -> Result<()> {
    scenario(|lab| {
        let _scene = Scene::new(lab, &[])?;
        let root = lab.net().scratch().folder("root")?;
        let words = ["--root", root.to_str().unwrap()];
        ensure!(told(lab, &words)?["notChecked"]["networkd"].is_string(), "no systemd there");
        for folder in ["run/systemd/system", "etc/systemd/networkd.conf.d"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        ensure!(findings(&told(lab, &words)?, "warning").is_empty(), "networkd does not run");
        std::fs::create_dir_all(root.join("run/systemd/netif"))?;
        finds(&told(lab, &words)?, "warning", &["networkd", "ManageForeignRoutingPolicyRules=no"])?;
        let settings = "[Network]\nManageForeignRoutingPolicyRules=no\nManageForeignRoutes=no\n";
        std::fs::write(root.join("etc/systemd/networkd.conf.d/sortie.conf"), settings)?;
        ensure!(findings(&told(lab, &words)?, "warning").is_empty(), "it is told to leave them alone");
        let key = lab.path("key");
        std::fs::write(&key, [7; 32])?;
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        finds(&told(lab, &["--peer-key-file", key.to_str().unwrap()])?, "error", &["peerKey", "chmod 0600"])?;
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        ensure!(told(lab, &["--peer-key-file", key.to_str().unwrap()])?["ok"] == true);
        Ok(())
    })
}

#[test]
fn what_a_running_helper_misses_is_found() -> Result<()> {
    scenario(|lab| {
        let hops = manifest::hops("b", "").replace("eth1", "late0");
        lab.manifest("late.yaml", &manifest::route_with("late", &hops, ""))?;
        let _scene = Scene::new(lab, &[])?;
        finds(&told(lab, &[])?, "warning", &["helper", "route late", "DeviceMissing"])?;
        lab.node.ip("link set dev eth2 down")?;
        poll(SOON, "the device to be down", || finds(&told(lab, &[]).ok()?, "warning", &["route c", "eth2"]).ok())
    })
}

#[test]
fn a_node_without_nft_is_told_so() -> Result<()> {
    scenario(|lab| {
        let program = programs::ours("sortie-helper")?;
        let mut ask = Command::new(&program);
        ask.args(["doctor", "-o", "json", "--socket"]).arg(helper::socket(lab)).env("PATH", "/nonexistent");
        let output = lab.node.with(|| command::output(&mut ask, ""))?;
        let told: Value = serde_json::from_slice(&output.stdout)?;
        finds(&told, "error", &["nft", "does not run", "1.0.6"])?;
        assert_eq!(output.status.code(), Some(1));
        Ok(())
    })
}
