//! Transactions through the `nft` program.
//!
//! Guarantees: one transaction per call, bounded in time, the program's words kept when it refuses.
//! Leaves out: reading the ruleset.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Own;
use crate::KernelError;

const PROGRAM: &str = "nft";
/// Ten thousand elements take 0.07 s.
const DEADLINE: Duration = Duration::from_secs(10);

/// Feeds `text` to `nft -f -`. The child commits only after it read all of it, and it is known as ours by then.
pub(super) async fn run(text: &str, own: &Own) -> Result<(), KernelError> {
    let system = |source| KernelError::System { operation: "run", object: PROGRAM.into(), source };
    let child = Command::new(PROGRAM)
        .args(["-f", "-"])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(system)?;
    let process = child.id();
    if let Some(process) = process {
        own.add_child(process);
    }
    let output = match timeout(DEADLINE, feed(child, text)).await {
        Ok(output) => output.map_err(system),
        Err(_) => Err(KernelError::Nft { stderr: format!("no answer within {} s", DEADLINE.as_secs()) }),
    };
    let outcome = output.and_then(|output| {
        let stderr = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(()) } else { Err(KernelError::Nft { stderr: stderr() }) }
    });
    if let (Some(process), Err(_)) = (process, &outcome) {
        own.forget_child(process);
    }
    outcome
}

async fn feed(mut child: Child, text: &str) -> std::io::Result<Output> {
    if let Some(mut stdin) = child.stdin.take() {
        // A child that refuses early closes its end; its status and words say why.
        let _ = stdin.write_all(text.as_bytes()).await;
    }
    child.wait_with_output().await
}
