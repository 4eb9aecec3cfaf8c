//! Namespaces and programs for the tests.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use sortie_core::ids::Numbers;
use sortie_kernel::Linux;

/// One network namespace with the devices `a` and `b`.
pub(crate) struct Node {
    files: tempfile::TempDir,
}

impl Node {
    /// Where values to be restored are kept.
    pub(crate) fn saved(&self) -> PathBuf {
        self.files.path().join("sysctl.json")
    }

    /// The platform under test.
    pub(crate) fn linux(&self) -> Linux {
        Linux::open(Numbers::default(), self.saved()).unwrap()
    }
}

/// Runs a test on a thread of its own in a fresh network namespace, which goes with the thread.
pub(crate) fn in_namespace(test: impl AsyncFnOnce(Node) + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        run("ip link set lo up");
        for (device, number) in [("a", 1), ("b", 2)] {
            run(&format!("ip link add name {device} type veth peer name {device}-far"));
            run(&format!("ip link set dev {device}-far up"));
            run(&format!("ip link set dev {device} up"));
            run(&format!("ip addr add 192.0.2.{number}/28 dev {device}"));
            run(&format!("ip addr add 2001:db8:{number}::1/64 dev {device} nodad"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(Node { files: tempfile::tempdir().unwrap() }));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a command line without quoting in this thread's namespace; it must succeed.
pub(crate) fn run(line: &str) -> String {
    let (ok, out) = attempt(line);
    assert!(ok, "{line}: {out}");
    out
}

/// Runs a command line that may fail; both outputs together on failure.
pub(crate) fn attempt(line: &str) -> (bool, String) {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => (true, text(&output.stdout)),
        false => (false, text(&output.stdout) + &text(&output.stderr)),
    }
}

/// JSON that a command prints; no output is an empty list.
pub(crate) fn json(line: &str) -> Value {
    let out = run(line);
    if out.trim().is_empty() { Value::Array(Vec::new()) } else { serde_json::from_str(&out).unwrap() }
}

/// Feeds a ruleset to `nft`.
pub(crate) fn nft(text: &str) {
    use std::io::Write as _;
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
}

/// Polls until the condition holds; the deadline is generous because the machine may be busy.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::yield_now();
    }
    start.elapsed()
}
