//! What the runtime is told when a command fails.

/// Error codes: 1 to 99 are the CNI specification's, from 100 Sortie's own.
pub mod code {
    /// The CNI version is not supported.
    pub const VERSION: u32 = 1;
    /// A necessary environment variable is missing or invalid.
    pub const ENVIRONMENT: u32 = 4;
    /// Input or output failed.
    pub const IO: u32 = 5;
    /// Content cannot be decoded.
    pub const UNDECODABLE: u32 = 6;
    /// The network configuration is invalid.
    pub const CONFIG: u32 = 7;
    /// Try again later.
    pub const TRY_AGAIN: u32 = 11;
    /// STATUS: no pod can be added.
    pub const NOT_AVAILABLE: u32 = 50;
    /// The route named does not exist.
    pub const ROUTE_NOT_FOUND: u32 = 100;
    /// The route does not allow the pod's namespace.
    pub const NAMESPACE_NOT_ALLOWED: u32 = 101;
    /// An annotation or an entry of the net conf's `routes` is invalid.
    pub const REQUEST_INVALID: u32 = 102;
    /// The pod's network is not known to be the cluster's.
    pub const POD_CIDR_UNKNOWN: u32 = 103;
    /// The pod's packets do not pass the host's network stack.
    pub const NOT_ROUTED: u32 = 104;
    /// Two routes are asked for the same traffic.
    pub const CONFLICT: u32 = 105;
    /// The Service or its address cannot be used.
    pub const ADDRESS_UNUSABLE: u32 = 106;
    /// CHECK found the kernel different from what it should be.
    pub const DRIFT: u32 = 107;
}

/// A CNI error object without its version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{msg} ({code}): {details}")]
pub struct CniError {
    /// One of [`code`].
    pub code: u32,
    /// Short.
    pub msg: String,
    /// Object, field, remedy.
    pub details: String,
}

/// What can be wrong with the input.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The version, or the verb under this version, is not supported.
    #[error("{0}")]
    Version(String),
    /// An environment variable.
    #[error("{variable} {reason}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Standard input is no JSON object of an acceptable size.
    #[error("standard input {0}")]
    Undecodable(String),
    /// A key of the network configuration.
    #[error("{key}: {reason}")]
    Config {
        /// The key, `prevResult.ips[0].address`.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Problem {
    pub(super) fn environment(variable: &'static str, reason: impl Into<String>) -> Self {
        Self::Environment { variable, reason: reason.into() }
    }

    pub(super) fn config(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { key: key.into(), reason: reason.into() }
    }
}

impl From<Problem> for CniError {
    fn from(problem: Problem) -> Self {
        let (code, msg) = match &problem {
            Problem::Version(_) => (code::VERSION, "incompatible CNI version"),
            Problem::Environment { .. } => (code::ENVIRONMENT, "invalid environment variable"),
            Problem::Undecodable(_) => (code::UNDECODABLE, "input cannot be decoded"),
            Problem::Config { .. } => (code::CONFIG, "invalid network configuration"),
        };
        Self { code, msg: msg.to_owned(), details: problem.to_string() }
    }
}
