//! DEL.
//!
//! Guarantees: success, whatever is there or not.

use sortie_core::cni::{NetConf, Target};
use sortie_ipc::{Reply, Request};

use crate::helper::{ask, key};
use crate::leftovers;
use crate::trouble::chain;

/// Asks the helper; does its work while it is down.
pub(crate) fn run(conf: &NetConf, target: &Target) {
    match ask(conf, Request::Detach(key(target)), conf.timeout) {
        Ok(Reply::Failed(failure)) => log::warn!("helper could not detach error={:?}", chain(&failure)),
        Ok(_) => {}
        Err(error) => {
            log::info!("detaching without the helper error={:?}", chain(&error));
            leftovers::remove(&conf.state_dir.join("attachments"), &key(target));
        }
    }
}
