//! Asking the helper.

use std::thread::sleep;
use std::time::{Duration, Instant};

use sortie_core::cni::{NetConf, Target, code};
use sortie_ipc::{AttachmentKey, FrameError, Reply, Request, call};

use crate::trouble::Trouble;

/// Time between attempts to reach the helper.
const PAUSE: Duration = Duration::from_millis(50);
/// A socket timeout of zero is none at all.
const LEAST: Duration = Duration::from_millis(1);

/// One attempt.
pub(crate) fn ask(conf: &NetConf, request: Request, deadline: Duration) -> Result<Reply, FrameError> {
    call(&conf.helper_socket, request, deadline.max(LEAST))
}

/// One attempt with the configured deadline, a refusal is an error.
pub(crate) fn demand(conf: &NetConf, request: Request) -> Result<Reply, Trouble> {
    match ask(conf, request, conf.timeout) {
        Ok(Reply::Failed(failure)) => Err(Trouble::Refused(failure)),
        Ok(reply) => Ok(reply),
        Err(error) => Err(unreachable(conf, error)),
    }
}

/// Attempts until the helper is there and ready, at most for the configured time. The last word of the helper says
/// more than a last attempt that had too little time.
pub(crate) fn ask_patiently(conf: &NetConf, request: &Request) -> Result<Reply, FrameError> {
    let end = Instant::now() + conf.timeout;
    let mut refusal = None;
    loop {
        let outcome = match ask(conf, request.clone(), end.saturating_duration_since(Instant::now())) {
            Ok(Reply::Failed(failure)) if failure.code == code::TRY_AGAIN => Ok(refusal.insert(failure).clone()),
            Err(error @ (FrameError::Connect { .. } | FrameError::Exchange { .. })) => Err(error),
            answer => return answer,
        };
        if Instant::now() + PAUSE >= end {
            return refusal.map_or(outcome.map(Reply::Failed), |failure| Ok(Reply::Failed(failure)));
        }
        sleep(PAUSE);
    }
}

/// The error for a helper that does not answer.
pub(crate) fn unreachable(conf: &NetConf, source: FrameError) -> Trouble {
    Trouble::Helper { socket: conf.helper_socket.clone(), source }
}

/// The name under which the helper knows an attachment.
pub(crate) fn key(target: &Target) -> AttachmentKey {
    AttachmentKey { container_id: target.container_id.clone(), interface: target.interface.clone() }
}
