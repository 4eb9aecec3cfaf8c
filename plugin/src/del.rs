//! DEL.
//!
//! Guarantees: success, whatever is there or not.

use sortie_core::cni::{NetConf, Target, code};
use sortie_ipc::{Reply, Request};

use crate::helper::{ask, key};
use crate::leftovers;
use crate::trouble::chain;

/// Asks the helper; does its work while it is down.
pub(crate) fn run(conf: &NetConf, target: &Target) {
    match ask(conf, Request::Detach(key(target)), conf.timeout) {
        Ok(Reply::Failed(failure)) if failure.code == code::TRY_AGAIN => alone(conf, target, &failure),
        Ok(Reply::Failed(failure)) => log::warn!("helper could not detach error={:?}", chain(&failure)),
        Ok(_) => {}
        Err(error) => alone(conf, target, &error),
    }
}

fn alone(conf: &NetConf, target: &Target, why: &dyn std::error::Error) {
    log::info!("detaching without the helper error={:?}", chain(why));
    leftovers::remove(&conf.state_dir.join("attachments"), &key(target));
}
