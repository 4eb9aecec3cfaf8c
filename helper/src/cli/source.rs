//! `--manifests`, or `--kubernetes` with what belongs to it.

use std::path::PathBuf;

use super::{UsageError, value};
use crate::kubernetes::kinds::Annotations;

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceOptions {
    Manifests(PathBuf),
    Kubernetes(KubernetesOptions),
}

/// How the API is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KubernetesOptions {
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Key of a taint that is removed when pods may start.
    pub(crate) startup_taint: Option<String>,
    pub(crate) annotations: Annotations,
}

/// Whether the API was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Api {
    #[default]
    Unused,
    Used,
}

/// Exactly one of the two.
pub(super) fn source(
    manifests: Option<PathBuf>,
    api: Api,
    options: KubernetesOptions,
) -> Result<SourceOptions, UsageError> {
    let refuse = |flag, message: &str, remedy| Err(value(flag, message.to_owned(), remedy));
    let meaningless = |flag| refuse(flag, "has no meaning without --kubernetes", "add --kubernetes");
    match (manifests, api) {
        (None, Api::Used) => Ok(SourceOptions::Kubernetes(options)),
        (_, Api::Unused) if options.kubeconfig.is_some() => meaningless("--kubeconfig"),
        (_, Api::Unused) if options.startup_taint.is_some() => meaningless("--startup-taint"),
        (_, Api::Unused) if options.annotations == Annotations::KubeVipToo => meaningless("--kube-vip-annotations"),
        (Some(folder), Api::Unused) => Ok(SourceOptions::Manifests(folder)),
        (Some(_), Api::Used) => refuse("--manifests", "excludes --kubernetes", "give one of the two"),
        (None, Api::Unused) => refuse("--manifests", "is required", "give a folder, or --kubernetes for the API"),
    }
}
