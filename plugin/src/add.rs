//! ADD.
//!
//! Guarantees: success means that everything the pod's first packet needs is in the kernel, or that the pod asks
//! for nothing the helper would know of; failure means that nothing of the attachment is left.

use std::time::Duration;

use sortie_core::cni::{Addition, NetConf, WhenHelperDown, code};
use sortie_core::model::Attachment;
use sortie_core::state::Rule;
use sortie_ipc::{AttachmentKey, Reply, Request};
use sortie_kernel::KernelError;
use sortie_kernel::blocking::Rules;

use crate::helper::{ask, ask_patiently, unreachable};
use crate::interest;
use crate::trouble::{Trouble, chain};

/// How long a pod that asks for nothing waits for an answer.
const IMPATIENT: Duration = Duration::from_millis(200);

/// Whether the pod is selected; `None` when it passed without the helper.
pub(crate) fn run(conf: &NetConf, addition: &Addition) -> Result<Option<bool>, Trouble> {
    let attachment = &addition.attachment;
    let (selected, rules) = match consult(conf, attachment)? {
        Some(Reply::Attached { selected, rules }) => (selected, rules),
        Some(Reply::Failed(failure)) => return Err(Trouble::Refused(failure)),
        Some(_) => return Err(Trouble::Answer("attach")),
        None => return Ok(None),
    };
    let outcome = if selected && addition.prev_result.host_interface.is_none() {
        Err(Trouble::NotRouted { container: attachment.container_id.clone() })
    } else {
        install(&rules).map_err(Trouble::from)
    };
    if outcome.is_err() {
        detach(conf, attachment);
    }
    outcome.map(|()| Some(selected))
}

/// The helper's answer, or `None` when the pod may pass without one.
fn consult(conf: &NetConf, attachment: &Attachment) -> Result<Option<Reply>, Trouble> {
    let request = Request::Attach(attachment.clone());
    let is_asking = conf.when_helper_down == WhenHelperDown::FailAll || interest::asks(conf, attachment);
    if is_asking && conf.when_helper_down != WhenHelperDown::Pass {
        return ask_patiently(conf, &request).map(Some).map_err(|error| unreachable(conf, error));
    }
    let patience = if is_asking { conf.timeout } else { conf.timeout.min(IMPATIENT) };
    Ok(match ask(conf, request, patience) {
        Ok(Reply::Failed(failure)) if failure.code == code::TRY_AGAIN => passed(&failure),
        Ok(reply) => Some(reply),
        Err(error) => passed(&error),
    })
}

fn passed(error: &dyn std::error::Error) -> Option<Reply> {
    log::warn!("pod passes without the helper error={:?}", chain(error));
    None
}

/// All rules or none.
fn install(rules: &[Rule]) -> Result<(), KernelError> {
    if rules.is_empty() {
        return Ok(());
    }
    let mut kernel = Rules::open()?;
    for (index, rule) in rules.iter().enumerate() {
        if let Err(error) = kernel.ensure(rule) {
            for rule in &rules[..index] {
                if let Err(error) = kernel.remove(rule) {
                    log::warn!("rule is left for the helper to remove error={:?}", chain(&error));
                }
            }
            return Err(error);
        }
    }
    Ok(())
}

fn detach(conf: &NetConf, attachment: &Attachment) {
    match ask(conf, Request::Detach(AttachmentKey::of(attachment)), conf.timeout) {
        Ok(Reply::Failed(failure)) => log::warn!("attachment is left for DEL error={:?}", chain(&failure)),
        Ok(_) => {}
        Err(error) => log::warn!("attachment is left for DEL error={:?}", chain(&error)),
    }
}
