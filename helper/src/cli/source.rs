//! `--manifests` or `--kubernetes`.

use std::path::PathBuf;

use super::{UsageError, value};

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceOptions {
    Manifests(PathBuf),
    Kubernetes { kubeconfig: Option<PathBuf> },
}

/// Exactly one of the two.
pub(super) fn source(
    manifests: Option<PathBuf>,
    kubernetes: Option<SourceOptions>,
    kubeconfig: Option<PathBuf>,
) -> Result<SourceOptions, UsageError> {
    let refuse = |flag, message: &str, remedy| Err(value(flag, message.to_owned(), remedy));
    match (manifests, kubernetes, kubeconfig) {
        (None, Some(_), kubeconfig) => Ok(SourceOptions::Kubernetes { kubeconfig }),
        (_, _, Some(_)) => refuse("--kubeconfig", "has no meaning without --kubernetes", "add --kubernetes"),
        (Some(folder), None, None) => Ok(SourceOptions::Manifests(folder)),
        (Some(_), Some(_), None) => refuse("--manifests", "excludes --kubernetes", "give one of the two"),
        (None, None, None) => refuse("--manifests", "is required", "give a folder, or --kubernetes for the API"),
    }
}
