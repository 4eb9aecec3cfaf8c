//! What can go wrong after the input was understood, and the code under which the runtime hears of it.

use std::error::Error;
use std::path::PathBuf;

use sortie_core::cni::{CniError, code};
use sortie_ipc::{Failure, FrameError};
use sortie_kernel::KernelError;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The helper does not answer.
    #[error("helper at {socket} does not answer; is sortie-helper running?")]
    Helper {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        source: FrameError,
    },
    /// STATUS: the helper does not answer, and no pod may pass without it.
    #[error("no pod can be added while the helper at {socket} does not answer (whenHelperDown: FailAll)")]
    NotAvailable {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        source: FrameError,
    },
    /// The helper said no.
    #[error("{}", .0.details)]
    Refused(Failure),
    /// The helper's answer does not fit the question.
    #[error("the helper's answer to {0} is none; plugin and helper must be of one release")]
    Answer(&'static str),
    /// The kernel said no.
    #[error("the pod's rules were not installed")]
    Kernel(#[from] KernelError),
    /// The pod does not send through the host.
    #[error(
        "prevResult has no interface on the host: traffic of container {container} does not pass the host's network \
         stack (ipvlan, macvlan, SR-IOV, …) and cannot be routed; use a bridge, ptp or similar network, or ask for no \
         route"
    )]
    NotRouted {
        /// `CNI_CONTAINERID`.
        container: String,
    },
    /// CHECK found differences.
    #[error("{}", .0.join("; "))]
    Drift(Vec<String>),
}

impl From<Trouble> for CniError {
    fn from(trouble: Trouble) -> Self {
        let details = chain(&trouble);
        let (code, msg) = match trouble {
            Trouble::Helper { .. } => (code::TRY_AGAIN, "helper is not reachable"),
            Trouble::NotAvailable { .. } => (code::NOT_AVAILABLE, "helper is not reachable"),
            Trouble::Refused(failure) => return Self { code: failure.code, msg: failure.message, details },
            Trouble::Answer(_) => (code::UNDECODABLE, "unexpected answer of the helper"),
            Trouble::Kernel(_) => (code::IO, "kernel refused"),
            Trouble::NotRouted { .. } => (code::NOT_ROUTED, "pod is not routed through the host"),
            Trouble::Drift(_) => (code::DRIFT, "kernel state differs"),
        };
        Self { code, msg: msg.to_owned(), details }
    }
}

/// The error with everything that caused it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
