//! What there is on the node beside us: programs, rulesets of others, switches.
//!
//! Guarantees: nothing is changed; a program that does not run is named with its cause and does not wait for ever. Leaves
//! out: what any of it means.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use sortie_core::nft;
use sortie_core::state::NftChange;
use tokio::process::Command;
use tokio::time::timeout;

use crate::KernelError;
use crate::linux;

/// Longest time a program may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// `uname -r`.
///
/// # Errors
/// When the kernel does not say it.
pub fn release() -> Result<String, KernelError> {
    let path = "/proc/sys/kernel/osrelease";
    let failed = |source| KernelError::System { operation: "read", object: path.into(), source };
    Ok(fs::read_to_string(path).map_err(failed)?.trim().to_owned())
}

/// Values of switches, `net/ipv4/ip_forward` for example; those that are not there are left out.
#[must_use]
pub fn switches(names: &[String]) -> BTreeMap<String, String> {
    let path = |name: &str| match name.strip_prefix("net/") {
        Some(rest) => linux::switches::folder(rest.split_once('/').map_or(rest, |(first, _)| first))
            .join(rest.split_once('/').map_or("", |(_, rest)| rest)),
        None => PathBuf::from("/proc/sys").join(name),
    };
    let value = |name: &String| Some((name.clone(), fs::read_to_string(path(name)).ok()?.trim().to_owned()));
    names.iter().filter_map(value).collect()
}

/// What `nft --version` prints.
///
/// # Errors
/// When it does not run.
pub async fn nft_version() -> Result<String, KernelError> {
    output("nft", &["--version"]).await
}

/// Every table of the network namespace, as `nft -j` tells it.
///
/// # Errors
/// When `nft` does not run or prints no JSON.
pub async fn ruleset() -> Result<Value, KernelError> {
    let text = output("nft", &["-j", "list", "ruleset"]).await?;
    let failed =
        |error: serde_json::Error| KernelError::Answer { operation: "nft -j list ruleset", detail: error.to_string() };
    serde_json::from_str(&text).map_err(failed)
}

/// What `iptables-save` or `ip6tables-save` prints.
///
/// # Errors
/// When it does not run.
pub async fn saved_rules(program: &str) -> Result<String, KernelError> {
    output(program, &[]).await
}

/// Whether `nft` and the kernel would take a change.
///
/// # Errors
/// What they say against it.
pub async fn accepts(change: &NftChange) -> Result<(), KernelError> {
    linux::nft::check(&nft::text(change)).await
}

async fn output(program: &str, arguments: &[&str]) -> Result<String, KernelError> {
    let system = |source| KernelError::System { operation: "run", object: program.into(), source };
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    let Ok(output) = timeout(DEADLINE, command.output()).await else {
        return Err(system(std::io::ErrorKind::TimedOut.into()));
    };
    let output = output.map_err(system)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(system(std::io::Error::other(format!("{}: {}", output.status, said.trim()))))
}
