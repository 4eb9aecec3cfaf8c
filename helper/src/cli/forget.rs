//! Command line of `forget-services`.

use std::path::PathBuf;

use lexopt::prelude::*;
use log::LevelFilter;

use super::{Command, UsageError, level};

/// Options of `forget-services`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ForgetOptions {
    /// The service account of the pod without it.
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) log_level: LevelFilter,
}

pub(super) fn parse(parser: &mut lexopt::Parser) -> Result<Command, UsageError> {
    let mut options = ForgetOptions { kubeconfig: None, log_level: LevelFilter::Info };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("kubeconfig") => options.kubeconfig = Some(parser.value()?.into()),
            Long("log-level") => options.log_level = level(&parser.value()?.string()?)?,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Forget(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_account_is_used_unless_a_kubeconfig_is_named() {
        let parsed = |words: &str| crate::cli::parse(words.split_whitespace().map(Into::into));
        let options = |kubeconfig| Command::Forget(ForgetOptions { kubeconfig, log_level: LevelFilter::Info });
        assert_eq!(parsed("forget-services").unwrap(), options(None));
        assert_eq!(parsed("forget-services --kubeconfig /k").unwrap(), options(Some("/k".into())));
        assert!(parsed("forget-services --node n1").is_err());
    }
}
