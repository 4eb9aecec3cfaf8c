//! Programs that are started for their result.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs to the end, with `input` on standard input, and returns everything.
///
/// # Errors
/// When it cannot be started.
pub fn output(command: &mut Command, input: &str) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that ends without reading is judged by its status.
        let _ = pipe.write_all(input.as_bytes());
    }
    child.wait_with_output().with_context(|| format!("cannot wait for {command:?}"))
}

/// Runs to the end and returns standard output.
///
/// # Errors
/// When it cannot be started or fails; with what it said.
pub fn text(command: &mut Command, input: &str) -> Result<String> {
    let output = output(command, input)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {}{said}", output.status, error);
    }
    Ok(said)
}
