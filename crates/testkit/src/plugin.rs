//! Our plugin without a runtime around it: any environment, any input.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::net::Namespace;
use crate::programs;

/// What the plugin answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether it ended with zero.
    pub is_success: bool,
    /// Standard output.
    pub text: String,
    /// Standard error.
    pub error: String,
}

impl Answer {
    /// The answer as JSON; null when it is empty.
    ///
    /// # Errors
    /// When it is neither empty nor one JSON document.
    pub fn json(&self) -> Result<Value> {
        if self.text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&self.text).with_context(|| format!("the answer is no JSON: {}", self.text))
    }

    /// The error code; 0 without one.
    ///
    /// # Errors
    /// As [`Answer::json`].
    pub fn code(&self) -> Result<u64> {
        Ok(self.json()?["code"].as_u64().unwrap_or(0))
    }
}

/// Runs the plugin in a namespace with exactly this environment and these bytes on standard input.
///
/// # Errors
/// When it is not built or cannot be started.
pub fn call(namespace: &Namespace, environment: &[(&str, &str)], input: &[u8]) -> Result<Answer> {
    let mut command = Command::new(programs::ours("sortie")?);
    command.env_clear().envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = namespace.spawn(&mut command)?;
    if let Some(mut pipe) = child.stdin.take() {
        // It may stop reading when it has seen enough.
        let _ = pipe.write_all(input);
    }
    let output = child.wait_with_output().context("cannot wait for the plugin")?;
    Ok(Answer {
        is_success: output.status.success(),
        text: String::from_utf8_lossy(&output.stdout).into_owned(),
        error: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
