//! `net.ipv4.conf.<device>.src_valid_mark`, and what it was before us.
//!
//! Guarantees: the old value is on disk before ours is in force; it is put back unless somebody changed it
//! since. Leaves out: devices on which somebody else set the value and we never asked for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sortie_core::model::DeviceName;

use super::switches;
use crate::KernelError;

const OURS: &str = "1";

/// Devices we changed, with their old values.
pub(super) struct SrcValidMark {
    file: PathBuf,
    before: BTreeMap<DeviceName, String>,
}

impl SrcValidMark {
    /// Reads what an earlier process left; an unreadable document counts as nothing, with a warning.
    pub(super) fn load(file: PathBuf) -> Result<Self, KernelError> {
        let before = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                log::warn!(
                    "saved values are unreadable and will not be restored file={} error={error}",
                    file.display()
                );
                BTreeMap::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(about("read", &file, source)),
        };
        Ok(Self { file, before })
    }

    /// Devices on which the value is ours and in force.
    pub(super) fn enabled(&self) -> BTreeSet<DeviceName> {
        let in_force = |device: &&DeviceName| fs::read_to_string(path(device)).is_ok_and(|v| v.trim() == OURS);
        self.before.keys().filter(in_force).cloned().collect()
    }

    /// Sets the value.
    pub(super) fn enable(&mut self, device: &DeviceName) -> Result<(), KernelError> {
        let path = path(device);
        let current = fs::read_to_string(&path).map_err(|source| about("read", &path, source))?;
        if !self.before.contains_key(device) {
            let mut before = self.before.clone();
            before.insert(device.clone(), current.trim().to_owned());
            self.store(before)?;
        }
        fs::write(&path, OURS).map_err(|source| about("write", &path, source))
    }

    /// Puts the old value back; a device that is gone is forgotten.
    pub(super) fn restore(&mut self, device: &DeviceName) -> Result<(), KernelError> {
        let Some(before) = self.before.get(device) else { return Ok(()) };
        let path = path(device);
        match fs::read_to_string(&path) {
            Ok(current) if current.trim() == OURS => {
                fs::write(&path, before).map_err(|source| about("write", &path, source))?;
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(about("read", &path, error)),
            _ => {}
        }
        let mut rest = self.before.clone();
        rest.remove(device);
        self.store(rest)
    }

    /// On disk first; what could not be stored is not remembered either.
    fn store(&mut self, before: BTreeMap<DeviceName, String>) -> Result<(), KernelError> {
        let error = |source| about("write", &self.file, source);
        let text = serde_json::to_vec_pretty(&before).map_err(|e| error(e.into()))?;
        let new = self.file.with_extension("new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &self.file)).map_err(error)?;
        self.before = before;
        Ok(())
    }
}

fn path(device: &DeviceName) -> PathBuf {
    switches::folder("ipv4/conf").join(&device.0).join("src_valid_mark")
}

fn about(operation: &'static str, path: &Path, source: io::Error) -> KernelError {
    KernelError::System { operation, object: path.display().to_string(), source }
}
