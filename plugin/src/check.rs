//! CHECK: the helper compares the kernel with what it should be.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use sortie_core::cni::{NetConf, Target};
use sortie_core::ids::PRIORITY_RANGE;
use sortie_core::state::Rule;
use sortie_ipc::{AttachmentKey, Reply, Request, StoredAttachment};
use sortie_kernel::blocking::Rules;

use crate::helper::{demand, key};
use crate::trouble::Trouble;

/// Success when nothing differs. Without the helper only the attachment's own rules can be compared: what is
/// missing of them is told, and otherwise that the helper does not answer.
pub(crate) fn run(conf: &NetConf, target: &Target, addresses: &[IpAddr]) -> Result<(), Trouble> {
    match demand(conf, Request::Check { key: key(target), addresses: addresses.to_vec() }) {
        Ok(Reply::Checked { drift }) if drift.is_empty() => Ok(()),
        Ok(Reply::Checked { drift }) => Err(Trouble::Drift(drift)),
        Ok(_) => Err(Trouble::Answer("check")),
        Err(unreachable @ Trouble::Helper { .. }) => match missing_rules(conf, &key(target)) {
            Some(drift) if !drift.is_empty() => Err(Trouble::Drift(drift)),
            _ => Err(unreachable),
        },
        Err(other) => Err(other),
    }
}

/// One sentence per rule that is not in the kernel; `None` when nothing is known of the attachment.
fn missing_rules(conf: &NetConf, key: &AttachmentKey) -> Option<Vec<String>> {
    let text = fs::read(conf.state_dir.join("attachments").join(key.file_name())).ok()?;
    let stored: StoredAttachment = serde_json::from_slice(&text).ok()?;
    let present = Rules::open().ok()?.list(PRIORITY_RANGE.0..=PRIORITY_RANGE.1).ok()?;
    let wanted: BTreeSet<Rule> = stored.rules.into_iter().collect();
    Some(wanted.difference(&present).map(|rule| format!("rule is missing: {rule}")).collect())
}
