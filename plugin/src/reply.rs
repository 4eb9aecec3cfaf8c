//! The one document on standard output.
//!
//! Guarantees: nothing else in the program writes there; a closed standard output is no panic. Leaves out:
//! `cni_plugin::reply::reply`, which panics then and exits with the error code.

use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use cni_plugin::reply::{ErrorReply, VersionReply};
use semver::Version;
use sortie_core::cni::{Refusal, VERSION_LATEST, VERSIONS};

/// CNI error: a failure that is nobody's input (the reference plugins use it, too).
const CODE_INTERNAL: i32 = 999;

/// Set when the document is on its way.
static ANSWERED: AtomicBool = AtomicBool::new(false);

/// What the runtime gets.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing; success.
    Nothing,
    /// This text; success.
    Text(String),
    /// The supported versions, in this version; success.
    Versions(String),
    /// An error.
    Error(Refusal),
}

impl Answer {
    fn text(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Text(text) => text.clone(),
            Self::Versions(version) => versions(version),
            Self::Error(Refusal { version, error }) => {
                let code = i32::try_from(error.code).unwrap_or(CODE_INTERNAL);
                error_text(version, code, (&error.msg, error.details.clone()))
            }
        }
    }
}

/// Writes the answer; the exit status tells whether the runtime got what it asked for.
pub(crate) fn send(answer: &Answer) -> ExitCode {
    let text = answer.text();
    if ANSWERED.swap(true, Ordering::SeqCst) {
        return ExitCode::FAILURE;
    }
    match (write(&text), answer) {
        (Err(_), _) | (_, Answer::Error(_)) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// A defect of this program is answered like any other error.
pub(crate) fn answer_panics() {
    std::panic::set_hook(Box::new(|info| {
        if !ANSWERED.swap(true, Ordering::SeqCst) {
            let _ = write(&panic_text(info));
        }
        std::process::exit(1);
    }));
}

fn panic_text(info: &PanicHookInfo<'_>) -> String {
    let details = format!("{info}; please report this");
    error_text(VERSION_LATEST, CODE_INTERNAL, ("sortie has a defect", details))
}

fn write(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn versions(version: &str) -> String {
    let supported_versions = VERSIONS.iter().map(|v| parsed(v)).collect();
    json(&VersionReply { cni_version: parsed(version), supported_versions })
}

fn error_text(version: &str, code: i32, (msg, details): (&str, String)) -> String {
    json(&ErrorReply { cni_version: parsed(version), code, msg, details })
}

/// A version that is none is answered in our newest; the details of the error name it.
fn parsed(version: &str) -> Version {
    Version::parse(version).unwrap_or_else(|_| Version::new(1, 1, 0))
}

fn json(document: &impl serde::Serialize) -> String {
    serde_json::to_string(document).unwrap_or_else(|error| {
        format!("{{\"cniVersion\":\"{VERSION_LATEST}\",\"code\":{CODE_INTERNAL},\"msg\":{:?}}}", error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_as_one_error_object() {
        let text = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let seen = text.clone();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| *seen.lock().unwrap() = panic_text(info)));
        let died = std::thread::spawn(|| panic!("bad \"luck\"")).join();
        std::panic::set_hook(before);
        assert!(died.is_err());
        let document: serde_json::Value = serde_json::from_str(&text.lock().unwrap()).unwrap();
        assert_eq!((document["code"].as_i64(), document["cniVersion"].as_str()), (Some(999), Some("1.1.0")));
        assert!(document["details"].as_str().unwrap().contains("bad \"luck\""));
    }

    #[test]
    fn the_newest_version_is_what_stands_in_for_none() {
        assert_eq!(parsed("banana").to_string(), VERSION_LATEST);
    }
}
