//! GC: the helper removes every attachment of the network that the runtime does not know.

use sortie_core::cni::{NetConf, Target};
use sortie_ipc::{Reply, Request};

use crate::helper::{demand, key};
use crate::trouble::Trouble;

/// Keeps the valid ones.
pub(crate) fn run(conf: &NetConf, valid: &[Target]) -> Result<(), Trouble> {
    let valid = valid.iter().map(key).collect();
    match demand(conf, Request::Gc { network: conf.name.clone(), valid })? {
        Reply::Done => Ok(()),
        _ => Err(Trouble::Answer("gc")),
    }
}
