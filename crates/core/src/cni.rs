//! What a container runtime says to the plugin, as plain values.
//!
//! Guarantees: any environment and any bytes give either a valid [`Input`] or the error object the runtime is
//! to get; nothing is read twice, nothing of `prevResult` is changed. Leaves out: reading standard input (at
//! most [`INPUT_MAX`] bytes, and one more to notice that there is more), and what `routes` and annotations mean.
//! The rules are those of the CNI specification 1.1.0; older layouts back to 0.3.0 are understood.

mod conf;
mod environment;
mod error;
pub mod install;
mod result;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::Attachment;

pub use conf::{LogLevel, NetConf, WhenHelperDown};
pub use environment::Target;
pub use error::{CniError, Problem, code};
pub use result::PrevResult;

/// Longest standard input in bytes.
pub const INPUT_MAX: usize = 4 << 20;
/// Versions understood, oldest first.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", VERSION_LATEST];
/// The newest of them.
pub const VERSION_LATEST: &str = "1.1.0";
/// What a configuration without `cniVersion` means.
const VERSION_UNSAID: &str = "0.1.0";
/// Deepest nesting of standard input.
const DEPTH_MAX: usize = 100;

/// A command of the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// `cniVersion` for the answer.
    pub version: String,
    /// Configuration.
    pub conf: NetConf,
    /// Command.
    pub command: Command,
}

/// `CNI_COMMAND` with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// ADD.
    Add(Box<Addition>),
    /// DEL.
    Del(Target),
    /// CHECK, with the addresses of `prevResult`.
    Check(Target, Vec<IpAddr>),
    /// GC with the attachments that stay.
    Gc(Vec<Target>),
    /// STATUS.
    Status,
    /// VERSION.
    Version,
}

/// What ADD brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// What the helper is told.
    pub attachment: Attachment,
    /// What the runtime gets back.
    pub prev_result: PrevResult,
}

/// A refused command: what the runtime is told, in the version it speaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Refusal {
    /// `cniVersion` of the input, [`VERSION_LATEST`] when it could not be read.
    pub version: String,
    /// Error.
    pub error: CniError,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

/// The keys that are needed before all others.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Head<'a> {
    #[serde(borrow)]
    cni_version: Option<&'a RawValue>,
    #[serde(borrow)]
    prev_result: Option<&'a RawValue>,
}

/// The command in the environment and standard input.
///
/// # Errors
/// The first thing that is wrong, as the runtime is to be told.
pub fn parse(variable: impl Fn(&str) -> Option<String>, stdin: &[u8]) -> Result<Input, Refusal> {
    let mut version = VERSION_LATEST.to_owned();
    read(&variable, stdin, &mut version).map_err(|problem| Refusal { version, error: problem.into() })
}

fn read(variable: &impl Fn(&str) -> Option<String>, stdin: &[u8], version: &mut String) -> Result<Input, Problem> {
    let verb = verb(&environment::required(variable, "CNI_COMMAND")?)?;
    match verb {
        Verb::Version => return asked_for_version(stdin),
        Verb::Del => return detachment(variable, stdin),
        _ => {}
    }
    let text = text(stdin)?;
    let head = head(text)?;
    *version = version_of(&head)?;
    is_supported(verb, version)?;
    let raw = conf::RawConf::read(text)?;
    let command = match verb {
        Verb::Gc => Command::Gc(raw.valid()?),
        Verb::Status => Command::Status,
        _ => return attachment(verb, variable, (raw, head, version)),
    };
    Ok(Input { version: version.clone(), conf: NetConf::strict(raw)?, command })
}

/// ADD and CHECK.
fn attachment(
    verb: Verb,
    variable: &impl Fn(&str) -> Option<String>,
    (raw, head, version): (conf::RawConf, Head<'_>, &str),
) -> Result<Input, Problem> {
    let target = environment::target(variable)?;
    let netns = environment::required(variable, "CNI_NETNS")?;
    let pod = environment::pod(&variable("CNI_ARGS").unwrap_or_default())?;
    let conf = NetConf::strict(raw)?;
    let prev_result =
        head.prev_result.ok_or_else(|| Problem::config("prevResult", "is required: sortie is a chained plugin"))?;
    let prev_result = PrevResult::read(prev_result.get(), &target.interface)?;
    let version = version.to_owned();
    if verb == Verb::Check {
        return Ok(Input { version, conf, command: Command::Check(target, prev_result.addresses) });
    }
    let attachment = Attachment {
        container_id: target.container_id,
        interface: target.interface,
        netns,
        network: conf.name.clone(),
        pod,
        addresses: prev_result.addresses.clone(),
        annotations: conf.annotations.clone(),
        routes: conf.routes.clone(),
    };
    Ok(Input { version, conf, command: Command::Add(Box::new(Addition { attachment, prev_result })) })
}

/// DEL needs nothing but a name: whatever else is broken, the attachment must be able to go.
fn detachment(variable: &impl Fn(&str) -> Option<String>, stdin: &[u8]) -> Result<Input, Problem> {
    let target = environment::target(variable)?;
    let text = text(stdin).unwrap_or_default();
    let version = head(text).and_then(|h| version_of(&h)).unwrap_or_else(|_| VERSION_LATEST.to_owned());
    let conf = NetConf::lenient(conf::RawConf::read(text).unwrap_or_default());
    Ok(Input { version, conf, command: Command::Del(target) })
}

/// VERSION is answered without a configuration, too.
fn asked_for_version(stdin: &[u8]) -> Result<Input, Problem> {
    let mut version = VERSION_LATEST.to_owned();
    if !stdin.trim_ascii().is_empty() {
        let asked = version_of(&head(text(stdin)?)?)?;
        version = Some(asked).filter(|v| VERSIONS.contains(&v.as_str())).unwrap_or(version);
    }
    Ok(Input { version, conf: NetConf::default(), command: Command::Version })
}

fn verb(name: &str) -> Result<Verb, Problem> {
    Ok(match name {
        "ADD" => Verb::Add,
        "DEL" => Verb::Del,
        "CHECK" => Verb::Check,
        "GC" => Verb::Gc,
        "STATUS" => Verb::Status,
        "VERSION" => Verb::Version,
        other => return Err(Problem::environment("CNI_COMMAND", format!("is {other:?}, no command of CNI"))),
    })
}

/// Each verb from the version of the specification that introduced it.
fn is_supported(verb: Verb, version: &str) -> Result<(), Problem> {
    let place = |v: &str| VERSIONS.iter().position(|known| *known == v);
    let Some(at) = place(version) else {
        return Err(Problem::Version(format!("cniVersion is {version:?}; supported are {}", VERSIONS.join(", "))));
    };
    let since = match verb {
        Verb::Check => "0.4.0",
        Verb::Gc | Verb::Status => "1.1.0",
        Verb::Add | Verb::Del | Verb::Version => VERSIONS[0],
    };
    if Some(at) >= place(since) {
        return Ok(());
    }
    Err(Problem::Version(format!("cniVersion {version} does not have this command; {since} has it")))
}

fn head(text: &str) -> Result<Head<'_>, Problem> {
    serde_json::from_str(text).map_err(|e| Problem::Undecodable(format!("is not what it should be: {e}")))
}

fn version_of(head: &Head<'_>) -> Result<String, Problem> {
    let Some(version) = head.cni_version else { return Ok(VERSION_UNSAID.to_owned()) };
    serde_json::from_str(version.get()).map_err(|e| Problem::Undecodable(format!("has no string as cniVersion: {e}")))
}

/// Standard input as text of an object that is neither too long nor too deep.
fn text(stdin: &[u8]) -> Result<&str, Problem> {
    let refuse = |reason: String| Err(Problem::Undecodable(reason));
    if stdin.len() > INPUT_MAX {
        return refuse(format!("is longer than {INPUT_MAX} bytes"));
    }
    let text = match std::str::from_utf8(stdin) {
        Ok(text) => text,
        Err(error) => return refuse(format!("is not UTF-8: {error}")),
    };
    if !text.trim_ascii_start().starts_with('{') {
        return refuse("is not a JSON object".to_owned());
    }
    if is_too_deep(stdin) {
        return refuse(format!("is nested deeper than {DEPTH_MAX}"));
    }
    Ok(text)
}

/// Values that are only skipped are not limited by the JSON reader.
fn is_too_deep(json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}
