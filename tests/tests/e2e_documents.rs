//! What the documents say to type on a node without Kubernetes, typed there.
//!
//! Two things are not as a reader has them: the programs under test lie where `make dist` would put them, and the unit of
//! systemd is what its `ExecStart` says, started and ended by the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sortie_testkit::helper::NODE;
use sortie_testkit::net::Mounts;
use sortie_testkit::probe::udp_socket;
use sortie_testkit::process::Process;
use sortie_testkit::tools::{Group, ensure};
use sortie_testkit::{Lab, Main, Namespace, Network, command, manifest, programs, until};
use sortie_tests::commands;

/// Longest time for the helper to be ready, and to end.
const LIMIT: Duration = Duration::from_secs(30);
/// Folders of a machine on which nothing of ours was ever installed.
const FRESH: &str = "
    mkdir -p $S/netns
    mount --rbind /run/netns $S/netns
    mount -t tmpfs none /run
    mkdir -p /run/netns /run/new/etc /run/new/local /run/work/etc /run/work/local
    mount --rbind $S/netns /run/netns
    mount -t overlay none -o lowerdir=/etc,upperdir=/run/new/etc,workdir=/run/work/etc /etc
    mount -t overlay none -o lowerdir=/usr/local,upperdir=/run/new/local,workdir=/run/work/local /usr/local
    mount -t tmpfs none /var/lib
    mount -t tmpfs none /opt
    mkdir -p /etc/cni/net.d /opt/cni/bin";
const UNIT: &str = "systemctl disable --now sortie-helper";

/// Somebody at a node, with the result of `make dist`.
struct Reader {
    place: Namespace,
    folder: PathBuf,
    helper: Option<Process>,
}

impl Reader {
    fn new(lab: &Lab) -> Result<Self> {
        let scratch = lab.net().scratch();
        let (folder, released) = (scratch.folder("desk")?, scratch.folder("desk/target/release")?);
        for name in ["sortie", "sortie-helper"] {
            std::os::unix::fs::symlink(programs::ours(name)?, released.join(name)).context("cannot link")?;
        }
        let mut fresh = shell(FRESH, &folder);
        fresh.env("S", scratch.folder("fresh")?);
        let mounts = Mounts::new(|| command::text(&mut fresh, "").map(drop))?;
        Ok(Self { place: lab.node.with_mounts(mounts), folder, helper: None })
    }

    /// Types what is marked with `name` in a document.
    fn follow(&mut self, document: &str, name: &str) -> Result<()> {
        for command in commands::read(&programs::workspace().join(document), name)? {
            let line = command.line.as_str();
            eprintln!("{document}: {line}");
            if line.starts_with(UNIT) {
                self.end()?;
            } else {
                self.types(line).with_context(|| self.log())?;
            }
        }
        Ok(())
    }

    fn types(&self, line: &str) -> Result<String> {
        self.place.with(|| command::text(&mut shell(line, &self.folder), ""))
    }

    /// What the unit says.
    fn start(&mut self, document: &str) -> Result<()> {
        let text = std::fs::read_to_string(programs::workspace().join(document)).context("cannot read")?;
        let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).context("no unit")?;
        let line = line.replace("%H", NODE);
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().context("nothing to start")?);
        self.helper = Some(Process::start(&self.place, command.args(words), &self.folder.join("helper.log"))?);
        let is_ready = || {
            self.types("sortie-helper status -o json")
                .is_ok_and(|said| serde_json::from_str(&said).is_ok_and(|status: Value| status["ready"] == true))
        };
        until(LIMIT, "the helper to be ready", is_ready).with_context(|| self.log())
    }

    fn end(&mut self) -> Result<()> {
        let mut helper = self.helper.take().context("no helper runs")?;
        helper.signal(Signal::SIGTERM)?;
        let status = helper.wait(LIMIT)?;
        ensure!(status.success(), "{status}: {}", helper.log());
        Ok(())
    }

    fn log(&self) -> String {
        self.helper.as_ref().map(Process::log).unwrap_or_default()
    }

    /// The node's CNI, as somebody else installed it.
    fn cni(&self, lab: &Lab) -> Result<()> {
        let mut list = Network::new(lab, Main::Bridge)?.document();
        let plugins = list["plugins"].as_array_mut().context("no plugins")?;
        plugins.truncate(1);
        let text = list.to_string();
        let line = format!("cp {}/* /opt/cni/bin/", ensure(Group::Cni)?.display());
        self.types(&line)?;
        self.types(&format!("cat > /etc/cni/net.d/10-pods.conflist <<'EOF'\n{text}\nEOF"))?;
        Ok(())
    }

    /// A pod `core/sip-0` by the node's CNI, which says a word.
    fn pod(&self, lab: &Lab) -> Result<()> {
        let pod = lab.net().namespace("sip-0")?;
        let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=core;K8S_POD_NAME=sip-0;K8S_POD_INFRA_CONTAINER_ID=sip";
        self.types(&format!(
            "CNI_PATH=/opt/cni/bin NETCONFPATH=/etc/cni/net.d CNI_ARGS='{arguments}' \
             /opt/cni/bin/cnitool add pods {}",
            pod.path().display()
        ))?;
        let (here, there): (SocketAddr, SocketAddr) = ("0.0.0.0:5060".parse()?, "203.0.113.5:5060".parse()?);
        pod.with(|| udp_socket(here)?.send_to(b"?", there).context("cannot send").map(drop))
    }
}

fn shell(line: &str, folder: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-euc", line]).current_dir(folder).env("HOME", folder);
    shell
}

#[test]
fn a_node_is_installed_asked_and_cleaned_as_the_documents_say() -> Result<()> {
    let lab = Lab::new()?;
    let mut reader = Reader::new(&lab)?;
    reader.follow("docs/operations.md", "programs")?;
    let core = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "core", "annotations": {"sortie.dev/route": "b"}}});
    let objects = manifest::all(&[manifest::node(), manifest::route("b"), core.to_string()]);
    reader.types(&format!("cat > /etc/sortie/manifests/all.yaml <<'EOF'\n{objects}\nEOF"))?;
    reader.cni(&lab)?;
    let before = reader.types("cat /etc/cni/net.d/*")?;
    reader.start("docs/operations.md")?;
    reader.follow("docs/operations.md", "entry")?;
    reader.pod(&lab)?;
    for (document, name) in [
        ("docs/operations.md", "daily"),
        ("docs/operations.md", "ask"),
        ("docs/troubleshooting.md", "first"),
        ("docs/troubleshooting.md", "packet"),
        ("docs/datapath.md", "look"),
    ] {
        reader.follow(document, name)?;
    }
    reader.follow("docs/operations.md", "uninstall")?;
    reader.follow("docs/operations.md", "nothing is left")?;
    assert_eq!(reader.types("cat /etc/cni/net.d/*")?, before);
    ensure!(reader.types("ls /usr/local/sbin /opt/cni/bin /var/lib").is_ok_and(|left| !left.contains("sortie")));
    Ok(())
}
