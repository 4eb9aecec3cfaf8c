//! Command line of `uninstall`, as far as it is not that of `run`.

use std::path::PathBuf;

use super::{Command, NodeOptions, UsageError, value};

/// Options of `uninstall`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UninstallOptions {
    pub(crate) place: NodeOptions,
    pub(crate) cni_conf_dir: Option<PathBuf>,
    pub(crate) cni_bin_dir: Option<PathBuf>,
    pub(crate) afterwards: Afterwards,
}

/// What follows when nothing is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Afterwards {
    #[default]
    End,
    /// Wait for SIGTERM.
    Wait,
}

pub(super) fn options(
    place: NodeOptions,
    (cni_conf_dir, cni_bin_dir): (Option<PathBuf>, Option<PathBuf>),
    afterwards: Afterwards,
) -> Result<Command, UsageError> {
    if cni_bin_dir.is_some() && cni_conf_dir.is_none() {
        let message = "would remove a plugin that the CNI configuration names".to_owned();
        return Err(value("--cni-bin-dir", message, "give --cni-conf-dir as well"));
    }
    Ok(Command::Uninstall(UninstallOptions { place, cni_conf_dir, cni_bin_dir, afterwards }))
}
