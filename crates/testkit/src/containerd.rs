//! containerd and runc on the node of a [`Lab`], asked by the Container Runtime Interface as a kubelet does.
//!
//! Guarantees: root, state, sockets and mounts are private to the test; containers, shims and control groups are gone
//! when the guard is dropped. Leaves out: pulling images.

pub(crate) mod configuration;

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::net::{Mounts, Namespace, memory};
use crate::process::Process;
use crate::programs;
use crate::tools::{Group, ensure};
use crate::wait::{poll, until};
use crate::{command, groups, image};

use configuration::Folders;

/// Name of the image, also that of the sandbox.
pub const IMAGE: &str = "docker.io/sortie/probe:1";
/// The program in it.
const PROGRAM: &str = "/probe";

/// How long containerd may take to start.
const START: Duration = Duration::from_secs(30);
/// How long a container's process may take.
const RUN: Duration = Duration::from_secs(20);
/// Where runc and the shim keep sockets and state, whatever they are told.
const FIXED: [&str; 2] = ["/run", "/var/lib"];

/// A running containerd.
#[derive(Debug)]
pub struct Containerd<'a> {
    lab: &'a Lab,
    node: Namespace,
    folder: PathBuf,
    group: String,
    _process: Process,
}

impl<'a> Containerd<'a> {
    /// Starts it with the networks in the lab's folder `net.d` and an image whose only program is `program`.
    ///
    /// # Errors
    /// When a program cannot be built or does not start; with its log.
    pub fn start(lab: &'a Lab, program: &Path) -> Result<Self> {
        let (bin, _) = (ensure(Group::Containerd)?, ensure(Group::Runc)?);
        let folder = lab.net().scratch().folder("containerd")?;
        let mounts = Mounts::new(|| FIXED.iter().try_for_each(|path| memory(Path::new(path), "mode=755")))?;
        let node = lab.node.with_mounts(mounts);
        let config = folder.join("config.toml");
        std::fs::write(&config, configuration(lab, &bin)?.text()).context("cannot write containerd's configuration")?;
        let mut command = Command::new(bin.join("containerd"));
        let path = std::env::var("PATH").unwrap_or_default();
        command.arg("--config").arg(&config).env("PATH", format!("{}:{path}", bin.display()));
        let process = Process::start(&node, &mut command, &lab.path("containerd.log"))?;
        let group = lab.node.name().trim_end_matches("-node").to_owned();
        let containerd = Self { lab, node, folder, group, _process: process };
        containerd.await_ready().with_context(|| containerd.log())?;
        containerd.import(&bin, program)?;
        Ok(containerd)
    }

    fn await_ready(&self) -> Result<()> {
        let socket = self.socket();
        until(START, "containerd's socket", || UnixStream::connect(&socket).is_ok())?;
        until(START, "containerd's runtime interface", || self.call("Version", &json!({})).is_ok())
    }

    fn import(&self, bin: &Path, program: &Path) -> Result<()> {
        let (root, archive) = (self.folder.join("image"), self.folder.join("image.tar"));
        image::add(&root, program)?;
        image::pack(&root, (IMAGE, &[PROGRAM, "pause"]), &archive)?;
        let mut ctr = Command::new(bin.join("ctr"));
        ctr.arg("--address").arg(self.socket()).args(["--namespace", "k8s.io", "images", "import"]).arg(archive);
        self.node.with(|| command::text(&mut ctr, "")).map(drop)
    }

    /// What containerd said so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.lab.path("containerd.log")).unwrap_or_default()
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// One request of the runtime interface.
    ///
    /// # Errors
    /// What containerd answers.
    pub fn call(&self, method: &str, request: &Value) -> Result<Value> {
        self.ask(&[method], request)
    }

    /// The same request for several, all at once on one connection; each answer is in `answer`, beside `nanoseconds`.
    fn call_many(&self, method: &str, requests: Vec<Value>) -> Result<Vec<Value>> {
        let Value::Array(outcomes) = self.ask(&[method, "many"], &Value::Array(requests))? else {
            bail!("{method} answered no list");
        };
        Ok(outcomes)
    }

    fn ask(&self, words: &[&str], input: &Value) -> Result<Value> {
        let mut cri = Command::new(ensure(Group::Containerd)?.join("cri"));
        cri.arg(self.socket()).args(words);
        let text = self.node.with(|| command::text(&mut cri, &input.to_string()))?;
        serde_json::from_str(&text).with_context(|| format!("{words:?} answered no JSON: {text}"))
    }

    /// Starts a pod with annotations: its sandbox, attached, with nothing in it yet.
    ///
    /// # Errors
    /// What containerd answers, a failed ADD for example.
    pub fn sandbox(&self, name: &str, annotations: &Value) -> Result<Sandbox> {
        let (config, logs) = self.config(name, annotations)?;
        let answer = self.call("RunPodSandbox", &json!({"config": config}))?;
        Sandbox::new(&answer, config, logs)
    }

    /// Starts pods with annotations, all at once, and returns each with the time from its request to its answer.
    ///
    /// # Errors
    /// What containerd answers; then some of them may run.
    pub fn sandboxes(&self, names: &[String], annotations: &Value) -> Result<Vec<(Sandbox, Duration)>> {
        let configs: Vec<(Value, PathBuf)> =
            names.iter().map(|name| self.config(name, annotations)).collect::<Result<_>>()?;
        let requests = configs.iter().map(|(config, _)| json!({"config": config})).collect();
        let outcomes = self.call_many("RunPodSandbox", requests)?;
        let pods = configs.into_iter().zip(outcomes);
        pods.map(|((config, logs), outcome)| {
            let nanoseconds = outcome["nanoseconds"].as_u64().context("an answer without its time")?;
            Ok((Sandbox::new(&outcome["answer"], config, logs)?, Duration::from_nanos(nanoseconds)))
        })
        .collect()
    }

    fn config(&self, name: &str, annotations: &Value) -> Result<(Value, PathBuf)> {
        let logs = self.folder.join(name);
        std::fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
        let config = json!({
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
            "annotations": annotations,
            "logDirectory": logs,
            "linux": {"cgroupParent": format!("/{}", self.group)},
        });
        Ok((config, logs))
    }

    /// Runs a container in a pod to its end and returns what it printed.
    ///
    /// # Errors
    /// What containerd answers; when it does not end in time.
    pub fn run(&self, sandbox: &Sandbox, name: &str, words: &[&str]) -> Result<String> {
        let config = json!({
            "metadata": {"name": name},
            "image": {"image": IMAGE},
            "command": [PROGRAM],
            "args": words,
            "logPath": format!("{name}.log"),
            "linux": {},
        });
        let request = json!({"podSandboxId": sandbox.id, "config": config, "sandboxConfig": sandbox.config});
        let created = self.call("CreateContainer", &request)?;
        let id = json!({"containerId": created["containerId"]});
        self.call("StartContainer", &id)?;
        poll(RUN, "the end of a container", || {
            let status = self.call("ContainerStatus", &id).ok()?;
            (status["status"]["state"] == "CONTAINER_EXITED").then_some(())
        })?;
        let log =
            std::fs::read_to_string(sandbox.logs.join(format!("{name}.log"))).context("the container has no log")?;
        // Time, stream, tag, text.
        Ok(log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect::<Vec<_>>().join("\n"))
    }

    /// Ends a pod; DEL is called.
    ///
    /// # Errors
    /// What containerd answers.
    pub fn stop(&self, sandbox: &Sandbox) -> Result<()> {
        let id = json!({"podSandboxId": sandbox.id});
        self.call("StopPodSandbox", &id)?;
        self.call("RemovePodSandbox", &id).map(drop)
    }

    /// Ends pods, all at once.
    ///
    /// # Errors
    /// What containerd answers.
    pub fn stop_all<'p>(&self, sandboxes: impl IntoIterator<Item = &'p Sandbox>) -> Result<()> {
        let ids: Vec<Value> = sandboxes.into_iter().map(|sandbox| json!({"podSandboxId": sandbox.id})).collect();
        self.call_many("StopPodSandbox", ids.clone())?;
        self.call_many("RemovePodSandbox", ids).map(drop)
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        // Shims outlive containerd; everything in the node's namespace or the test's control groups is the test's.
        groups::remove(&self.group);
    }
}

/// A pod in containerd.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Its id, which is the container id of its attachment.
    pub id: String,
    config: Value,
    logs: PathBuf,
}

impl Sandbox {
    fn new(answer: &Value, config: Value, logs: PathBuf) -> Result<Self> {
        let id = answer["podSandboxId"].as_str().context("the sandbox has no id")?.to_owned();
        Ok(Self { id, config, logs })
    }
}

fn configuration<'b>(lab: &Lab, bin: &'b Path) -> Result<Folders<'b>> {
    let scratch = lab.net().scratch();
    let plugin = programs::ours("sortie")?;
    let plugins = plugin.parent().context("the plugin has no folder")?.to_path_buf();
    Ok(Folders {
        root: scratch.folder("containerd/root")?,
        state: scratch.folder("containerd/state")?,
        sockets: scratch.path().join("containerd"),
        plugins: vec![bin.to_path_buf(), plugins],
        networks: scratch.folder("net.d")?,
        programs: bin,
        sandbox: IMAGE,
    })
}
