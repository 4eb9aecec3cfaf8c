//! What an attachment leaves when there is no helper to remove it.
//!
//! Guarantees: works from the attachment's file alone, so absent is done; an address that another attachment
//! holds keeps its rules, elements and connections; what could not be removed stays on disk for the helper, in a
//! file ending in `.detached`. Leaves out: chains and routes, which the helper removes at its next start.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::Path;

use sortie_core::state::{ConntrackFilter, NftElement, NftKey, NftValue, Rule, TableFamily};
use sortie_ipc::{AttachmentKey, StoredAttachment};
use sortie_kernel::KernelError;
use sortie_kernel::blocking::{Conntrack, Elements, Rules};

use crate::trouble::chain;

/// Sets and maps that an address may stand in.
const MAPS_V4: [&str; 3] = ["pods4", "sel4", "inb4"];
const MAPS_V6: [&str; 3] = ["pods6", "sel6", "inb6"];

/// Removes what belongs to the attachment and to no other one.
pub(crate) fn remove(directory: &Path, key: &AttachmentKey) {
    let path = directory.join(key.file_name());
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                log::warn!("attachment cannot be read file={} error={error}", path.display());
            }
            return;
        }
    };
    let is_done = match serde_json::from_slice::<StoredAttachment>(&text) {
        // `a-b` with `c` and `a` with `b-c` share a file name.
        Ok(stored) if AttachmentKey::of(&stored.attachment) != *key => return,
        Ok(stored) => others(directory, &path).is_some_and(|others| clear(&stored, &others)),
        Err(error) => {
            log::warn!("attachment cannot be used file={} error={error}", path.display());
            false
        }
    };
    let outcome =
        if is_done { fs::remove_file(&path) } else { fs::rename(&path, directory.join(key.detached_file_name())) };
    if let Err(error) = outcome {
        log::warn!("attachment stays on disk file={} error={error}", path.display());
    }
}

/// Every other attachment in the directory; `None` when one cannot be read, for it may hold the same address.
fn others(directory: &Path, own: &Path) -> Option<Vec<StoredAttachment>> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let files = entries.filter(|path| path != own && path.extension().is_some_and(|e| e == "json"));
    files.filter_map(|path| other(&path).transpose()).collect::<io::Result<_>>().inspect_err(told).ok()
}

/// `None` when it went meanwhile.
fn other(path: &Path) -> io::Result<Option<StoredAttachment>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn told(error: &io::Error) {
    log::warn!("another attachment cannot be read, all is left for the helper to remove error={error}");
}

/// Whether everything went.
fn clear(stored: &StoredAttachment, others: &[StoredAttachment]) -> bool {
    let held: BTreeSet<IpAddr> = others.iter().flat_map(|o| o.attachment.addresses.iter().copied()).collect();
    let kept: BTreeSet<&Rule> = others.iter().flat_map(|o| &o.rules).collect();
    let rules: Vec<&Rule> = stored.rules.iter().filter(|r| !kept.contains(r)).collect();
    let free: Vec<IpAddr> = stored.attachment.addresses.iter().copied().filter(|a| !held.contains(a)).collect();
    let steps = [
        ("rules", remove_rules(&rules)),
        ("elements", remove_elements(&free)),
        ("connections", remove_connections(&free)),
    ];
    for (what, outcome) in &steps {
        if let Err(error) = outcome {
            log::warn!("{what} are left for the helper to remove error={:?}", chain(error));
        }
    }
    steps.iter().all(|(_, outcome)| outcome.is_ok())
}

/// All that can be removed; the first failure is told.
fn remove_rules(rules: &[&Rule]) -> Result<(), KernelError> {
    if rules.is_empty() {
        return Ok(());
    }
    let mut kernel = Rules::open()?;
    rules.iter().map(|rule| kernel.remove(rule)).fold(Ok(()), Result::and)
}

fn remove_elements(addresses: &[IpAddr]) -> Result<(), KernelError> {
    if addresses.is_empty() {
        return Ok(());
    }
    let maps = |address: &IpAddr| if address.is_ipv4() { MAPS_V4 } else { MAPS_V6 };
    // A removal looks at map and key only.
    let element = |map: &str, address: &IpAddr| NftElement {
        map: map.to_owned(),
        key: NftKey::Address(*address),
        value: NftValue::Member,
    };
    let elements: Vec<NftElement> =
        addresses.iter().flat_map(|address| maps(address).map(|map| element(map, address))).collect();
    Elements::open()?.apply(TableFamily::Inet, &elements, &[])
}

fn remove_connections(addresses: &[IpAddr]) -> Result<(), KernelError> {
    if addresses.is_empty() {
        return Ok(());
    }
    let filters: Vec<ConntrackFilter> = addresses.iter().copied().map(ConntrackFilter::Address).collect();
    Conntrack::open()?.delete(&filters).map(drop)
}
