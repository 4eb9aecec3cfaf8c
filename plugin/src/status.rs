//! STATUS: fails only when no pod could be served, because a failure takes the whole node out of service.

use std::time::Duration;

use sortie_core::cni::{NetConf, WhenHelperDown};
use sortie_ipc::Request;

use crate::helper::ask;
use crate::trouble::Trouble;

/// Runtimes ask often and wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// Success unless every pod would fail.
pub(crate) fn run(conf: &NetConf) -> Result<(), Trouble> {
    if conf.when_helper_down != WhenHelperDown::FailAll {
        return Ok(());
    }
    match ask(conf, Request::Status, conf.timeout.min(PATIENCE)) {
        Ok(_) => Ok(()),
        Err(source) => Err(Trouble::NotAvailable { socket: conf.helper_socket.clone(), source }),
    }
}
