//! CHECK: the helper compares the kernel with what it should be.

use sortie_core::cni::{NetConf, Target};
use sortie_ipc::{Reply, Request};

use crate::helper::{demand, key};
use crate::trouble::Trouble;

/// Success when nothing differs.
pub(crate) fn run(conf: &NetConf, target: &Target) -> Result<(), Trouble> {
    match demand(conf, Request::Check(key(target)))? {
        Reply::Checked { drift } if drift.is_empty() => Ok(()),
        Reply::Checked { drift } => Err(Trouble::Drift(drift)),
        _ => Err(Trouble::Answer("check")),
    }
}
