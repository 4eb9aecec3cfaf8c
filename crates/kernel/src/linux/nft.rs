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

/// A chain at the hook where frames are addressed.
const EGRESS_CHAIN: &str =
    "table netdev sortie_check {\n chain out {\n type filter hook egress device \"lo\" priority 0;\n }\n}\n";

/// Feeds `text` to `nft -f -`. The child commits only after it read all of it, and it is known as ours by then.
pub(super) async fn run(text: &str, own: &Own) -> Result<(), KernelError> {
    let child = start(&["-f", "-"])?;
    let process = child.id();
    if let Some(process) = process {
        own.add_child(process);
    }
    let outcome = finish(child, text).await;
    if let (Some(process), Err(_)) = (process, &outcome) {
        own.forget_child(process);
    }
    outcome
}

/// Whether program and kernel take a chain at the egress of a device; nothing is changed.
pub(super) async fn check_egress_hook() -> Result<(), KernelError> {
    match check(EGRESS_CHAIN).await {
        Err(KernelError::Nft { stderr }) => Err(KernelError::Missing {
            feature: "the egress hook of devices",
            needs: "a kernel of at least 5.16 with CONFIG_NETFILTER_EGRESS is needed",
            detail: stderr,
        }),
        other => other,
    }
}

/// Whether program and kernel would take `text`; nothing is changed.
pub(crate) async fn check(text: &str) -> Result<(), KernelError> {
    finish(start(&["-c", "-f", "-"])?, text).await
}

fn start(arguments: &[&str]) -> Result<Child, KernelError> {
    Command::new(PROGRAM)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(system)
}

async fn finish(child: Child, text: &str) -> Result<(), KernelError> {
    let Ok(output) = timeout(DEADLINE, feed(child, text)).await else {
        return Err(KernelError::Nft { stderr: format!("no answer within {} s", DEADLINE.as_secs()) });
    };
    let output = output.map_err(system)?;
    if output.status.success() {
        return Ok(());
    }
    Err(KernelError::Nft { stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

fn system(source: std::io::Error) -> KernelError {
    KernelError::System { operation: "run", object: PROGRAM.into(), source }
}

async fn feed(mut child: Child, text: &str) -> std::io::Result<Output> {
    if let Some(mut stdin) = child.stdin.take() {
        // A child that refuses early closes its end; its status and words say why.
        let _ = stdin.write_all(text.as_bytes()).await;
    }
    child.wait_with_output().await
}
