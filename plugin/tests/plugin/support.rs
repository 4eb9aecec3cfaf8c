//! A runtime and a helper.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sortie_ipc::{Call, Failure, Reply, Request, decode, encode};
use tempfile::TempDir;

/// Longest time anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// What the plugin did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) took: Duration,
}

impl Outcome {
    /// Code and text of the error object, which must be the only thing said.
    pub(crate) fn error(&self) -> (u64, String) {
        let document: Value = serde_json::from_str(&self.stdout).expect(&self.stdout);
        assert_eq!(self.code, Some(1), "{}", self.stdout);
        let known =
            document.as_object().unwrap().keys().all(|k| ["cniVersion", "code", "msg", "details"].contains(&&**k));
        assert!(known && !document["msg"].as_str().unwrap().is_empty(), "{document}");
        assert!(document["cniVersion"].is_string(), "{document}");
        (document["code"].as_u64().unwrap(), document["details"].as_str().unwrap().to_owned())
    }

    pub(crate) fn is_silent_success(&self) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(0), ""));
    }
}

/// A runtime with directories of its own.
pub(crate) struct Runtime {
    directory: TempDir,
    /// Network namespace (`ip netns`) the plugin runs in; `None` = the test's.
    namespace: Option<String>,
}

impl Runtime {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("attachments")).unwrap();
        Self { directory, namespace: None }
    }

    pub(crate) fn within(namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..Self::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the runtime believes the pod to have.
    pub(crate) fn addresses(&self) -> Vec<std::net::IpAddr> {
        let addresses = result()["ips"].as_array().unwrap().clone();
        addresses.iter().map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap()).collect()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// A configuration with these keys changed.
    pub(crate) fn conf(&self, changes: Value) -> Value {
        let mut conf = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "sortie", "timeoutMilliseconds": 300,
            "helperSocket": self.path("helper.sock"), "stateDir": self.path(""), "dataDir": self.path(""),
            "logFile": self.path("log"),
            "prevResult": result(),
        });
        for (key, value) in changes.as_object().unwrap() {
            conf[key] = value.clone();
        }
        conf
    }

    pub(crate) fn run(&self, verb: &str, changes: Value) -> Outcome {
        self.run_with(verb, &[], self.conf(changes).to_string().as_bytes())
    }

    /// Environment variables named `-NAME` are not set at all.
    pub(crate) fn run_with(&self, verb: &str, changes: &[(&str, &str)], stdin: &[u8]) -> Outcome {
        let started = Instant::now();
        let mut child = self.command(verb, changes).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let stdin = stdin.to_vec();
        let writer = std::thread::spawn(move || drop(input.write_all(&stdin)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let took = started.elapsed();
        Outcome { code: output.status.code(), stdout: String::from_utf8(output.stdout).unwrap(), took }
    }

    pub(crate) fn command(&self, verb: &str, changes: &[(&str, &str)]) -> Command {
        let plugin = env!("CARGO_BIN_EXE_sortie");
        let mut command = match &self.namespace {
            None => Command::new(plugin),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, plugin]);
                command
            }
        };
        command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", "c0ffee").env("CNI_IFNAME", "eth0");
        command.env("CNI_NETNS", "/run/netns/x").env("CNI_PATH", "/opt/cni/bin");
        command.env("CNI_ARGS", "K8S_POD_NAMESPACE=core;K8S_POD_NAME=sip-1;K8S_POD_UID=u-1");
        for (name, value) in changes {
            match name.strip_prefix('-') {
                Some(name) => command.env_remove(name),
                None => command.env(name, value),
            };
        }
        command
    }
}

pub(crate) fn result() -> Value {
    json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/x"}],
        "ips": [{"interface": 1, "address": "10.1.0.5/24"}]
    })
}

/// Annotations that ask for a route.
pub(crate) fn asking() -> Value {
    json!({"io.kubernetes.cri.pod-annotations": {"sortie.dev/route": "signalling"}})
}

/// A helper that gives these answers, one to a connection, and ends with the last.
pub(crate) struct Helper {
    asked: Arc<Mutex<Vec<Request>>>,
    thread: std::thread::JoinHandle<()>,
}

/// What a helper does with one connection.
pub(crate) enum Act {
    Answer(Reply),
    /// Closes the connection without a word.
    HangUp,
    /// Says nothing until the plugin gives up.
    Wait,
    Raw(&'static [u8]),
}

impl Helper {
    pub(crate) fn start(socket: &Path, acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut acts) = (asked.clone(), acts.into_iter().collect::<VecDeque<_>>());
        let thread = std::thread::spawn(move || {
            while let Some(act) = acts.pop_front() {
                let (stream, _) = listener.accept().unwrap();
                converse(stream, &act, &seen);
            }
        });
        Self { asked, thread }
    }

    pub(crate) fn answering(socket: &Path, reply: Reply) -> Self {
        Self::start(socket, [Act::Answer(reply)])
    }

    /// Everything the plugin asked, after the last answer.
    pub(crate) fn asked(self) -> Vec<Request> {
        let end = Instant::now() + DEADLINE;
        while !self.thread.is_finished() {
            assert!(Instant::now() < end, "the plugin asked less than expected: {:?}", self.asked.lock().unwrap());
            std::thread::yield_now();
        }
        self.thread.join().unwrap();
        self.asked.lock().unwrap().clone()
    }
}

fn converse(mut stream: UnixStream, act: &Act, seen: &Mutex<Vec<Request>>) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).unwrap();
    seen.lock().unwrap().push(decode::<Call>(&line).unwrap().request);
    match act {
        Act::Answer(reply) => stream.write_all(&encode(reply).unwrap()).unwrap(),
        Act::Raw(bytes) => stream.write_all(bytes).unwrap(),
        Act::HangUp => {}
        Act::Wait => drop(reader.read_until(b'\n', &mut line)),
    }
}

pub(crate) fn selected() -> Reply {
    Reply::Attached { selected: true, rules: Vec::new() }
}

pub(crate) fn unselected() -> Reply {
    Reply::Attached { selected: false, rules: Vec::new() }
}

pub(crate) fn failed(code: u32) -> Reply {
    Reply::Failed(Failure { code, message: "no".to_owned(), details: "Pod core/sip-1: because".to_owned() })
}
