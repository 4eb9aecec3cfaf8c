//! What the helper keeps on disk.
//!
//! Guarantees: a file is either the old or the new one, also after a power cut; a file that cannot be read
//! is moved aside and reported, never trusted and never lost. Leaves out: the kernel's state, which is read
//! from the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sortie_core::address::Given;
use sortie_core::allocation::Allocation;
use sortie_core::model::{DeviceName, ObjectName};
use sortie_ipc::{AttachmentKey, DETACHED, StoredAttachment};

use crate::catalogue::Kept;
use crate::lock::ensure_dir;

/// Beginning of a file that is being written.
pub(crate) const NEW: &str = ".new-";

/// A failed file operation.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}")]
pub(crate) struct StoreError {
    action: &'static str,
    path: PathBuf,
    /// errno.
    #[source]
    pub(crate) source: io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError { action, path: path.to_owned(), source }
}

/// Attachments as read at start.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// In force.
    pub(crate) attachments: BTreeMap<AttachmentKey, StoredAttachment>,
    /// Detached by the last helper, or by the plugin while none ran; to be finished.
    pub(crate) detached: Vec<Detached>,
    /// In force, but unreadable.
    pub(crate) lost: Vec<AttachmentKey>,
}

/// An attachment that was detached, and whose flows may still be there.
#[derive(Debug)]
pub(crate) struct Detached {
    /// What it was.
    pub(crate) stored: StoredAttachment,
    path: PathBuf,
}

/// Pods whose runtime detached them: they are not adopted again.
pub(crate) type Departed = BTreeSet<(ObjectName, String)>;
/// Next hops that failed their probes.
pub(crate) type DeadHops = BTreeSet<(DeviceName, IpAddr)>;

/// The two directories.
#[derive(Debug)]
pub(crate) struct Store {
    attachments: PathBuf,
    allocation: PathBuf,
    tables: PathBuf,
    addresses: PathBuf,
    interest: PathBuf,
    departed: PathBuf,
    dead_hops: PathBuf,
    world: PathBuf,
    sysctl: PathBuf,
}

impl Store {
    /// Opens the directories, creating them if need be.
    pub(crate) fn open(state_dir: &Path, data_dir: &Path) -> anyhow::Result<Self> {
        let attachments = state_dir.join("attachments");
        ensure_dir(&attachments)?;
        ensure_dir(data_dir)?;
        Ok(Self {
            attachments,
            allocation: state_dir.join("allocation.json"),
            tables: data_dir.join("tables"),
            addresses: data_dir.join("addresses.json"),
            interest: data_dir.join("interest"),
            departed: state_dir.join("departed.json"),
            dead_hops: state_dir.join("dead-hops.json"),
            world: data_dir.join("world.json"),
            sysctl: state_dir.join("sysctl.json"),
        })
    }

    /// The file in which the kernel's old values are kept; a corrupt one is moved aside.
    pub(crate) fn saved_values(&self) -> Result<&Path, StoreError> {
        read::<BTreeMap<String, String>>(&self.sysctl)?;
        Ok(&self.sysctl)
    }

    /// Everything that was attached when the last helper stopped.
    pub(crate) fn load(&self) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        let entries = fs::read_dir(&self.attachments).map_err(failed("read", &self.attachments))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let gone = name.ends_with(DETACHED);
            if !gone && !name.ends_with(".json") {
                continue;
            }
            let Some(stored) = read::<StoredAttachment>(&path)? else {
                loaded.lost.extend(key_of(&name));
                continue;
            };
            if gone {
                loaded.detached.push(Detached { stored, path });
            } else {
                loaded.attachments.insert(AttachmentKey::of(&stored.attachment), stored);
            }
        }
        Ok(loaded)
    }

    /// Writes one attachment.
    pub(crate) fn save(&self, stored: &StoredAttachment) -> Result<(), StoreError> {
        write_json(&self.attachments.join(AttachmentKey::of(&stored.attachment).file_name()), stored)
    }

    /// Forgets one attachment; absent is success.
    pub(crate) fn remove(&self, key: &AttachmentKey) -> Result<(), StoreError> {
        remove(&self.attachments.join(key.file_name()))
    }

    /// An attachment is not in force any more; what is left to be done for it outlives the helper.
    pub(crate) fn detach(&self, stored: StoredAttachment) -> Result<Detached, StoreError> {
        let key = AttachmentKey::of(&stored.attachment);
        let [file, path] = [key.file_name(), key.detached_file_name()].map(|name| self.attachments.join(name));
        match fs::rename(&file, &path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("rename", &file)(error)),
            _ => Ok(Detached { stored, path }),
        }
    }

    /// The detach is finished.
    pub(crate) fn finish(&self, detached: &Detached) -> Result<(), StoreError> {
        remove(&detached.path)
    }

    /// Numbers of the last helper; tables survive a reboot, exits and paths do not.
    pub(crate) fn allocation(&self) -> Result<Allocation, StoreError> {
        let kept = read::<Allocation>(&self.allocation)?.unwrap_or_default();
        let tables = read::<BTreeMap<String, u32>>(&self.tables)?;
        Ok(Allocation { tables: tables.unwrap_or(kept.tables), exits: kept.exits, paths: kept.paths })
    }

    /// Whether numbers of this boot are on disk.
    pub(crate) fn knows_paths(&self) -> bool {
        self.allocation.exists()
    }

    /// Writes the numbers.
    pub(crate) fn save_allocation(&self, allocation: &Allocation) -> Result<(), StoreError> {
        write_json(&self.tables, &allocation.tables)?;
        write_json(&self.allocation, allocation)
    }

    /// Addresses that Services of our class were given; they survive a reboot.
    pub(crate) fn addresses(&self) -> Result<Given, StoreError> {
        Ok(read::<Vec<(ObjectName, Vec<IpAddr>)>>(&self.addresses)?.unwrap_or_default().into_iter().collect())
    }

    /// Writes them.
    pub(crate) fn save_addresses(&self, given: &Given) -> Result<(), StoreError> {
        write_json(&self.addresses, &given.iter().collect::<Vec<_>>())
    }

    /// Pods that are not to be adopted.
    pub(crate) fn departed(&self) -> Result<Departed, StoreError> {
        Ok(read(&self.departed)?.unwrap_or_default())
    }

    /// Writes them.
    pub(crate) fn save_departed(&self, departed: &Departed) -> Result<(), StoreError> {
        write_json(&self.departed, departed)
    }

    /// Next hops that did not answer the last helper.
    pub(crate) fn dead_hops(&self) -> Result<DeadHops, StoreError> {
        Ok(read(&self.dead_hops)?.unwrap_or_default())
    }

    /// Writes them.
    pub(crate) fn save_dead_hops(&self, dead: &DeadHops) -> Result<(), StoreError> {
        write_json(&self.dead_hops, dead)
    }

    /// Objects that were in force when the last helper stopped.
    pub(crate) fn world(&self) -> Result<Vec<Kept>, StoreError> {
        Ok(read(&self.world)?.unwrap_or_default())
    }

    /// Writes them.
    pub(crate) fn save_world(&self, kept: &[Kept]) -> Result<(), StoreError> {
        write_json(&self.world, &kept)
    }

    /// Writes the interest file, one namespace a line.
    pub(crate) fn save_interest(&self, namespaces: &BTreeSet<String>) -> Result<(), StoreError> {
        let text: String = namespaces.iter().map(|n| format!("{n}\n")).collect();
        if fs::read_to_string(&self.interest).is_ok_and(|old| old == text) {
            return Ok(());
        }
        replace(&self.interest, text.as_bytes())
    }
}

/// The key in an attachment's file name, for devices without a dash in their name.
fn key_of(file: &str) -> Option<AttachmentKey> {
    let (container, interface) = file.strip_suffix(".json")?.rsplit_once('-')?;
    Some(AttachmentKey { container_id: container.to_owned(), interface: interface.to_owned() })
}

/// Absent is success.
fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The document, or `None` when there is none or when it had to be moved aside.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    match serde_json::from_slice(&text) {
        Ok(document) => Ok(Some(document)),
        Err(error) => {
            let aside = aside(path);
            fs::rename(path, &aside).map_err(failed("move aside", path))?;
            let (file, aside) = (path.display(), aside.display());
            log::error!("state file is corrupt, moved aside and rebuilt file={file} aside={aside} error={error}");
            Ok(None)
        }
    }
}

/// The first free name beside the file.
fn aside(path: &Path) -> PathBuf {
    let name = |n: u32| PathBuf::from(format!("{}.corrupt-{n}", path.display()));
    (1..).map(name).find(|p| !p.exists()).unwrap_or_else(|| name(0))
}

/// Replaces the document.
pub(crate) fn write_json<T: Serialize>(path: &Path, document: &T) -> Result<(), StoreError> {
    let text = serde_json::to_vec(document).map_err(|e| failed("encode", path)(e.into()))?;
    replace(path, &text)
}

/// Replaces a document that says nothing after the boot. Another helper finds it, and nobody waits for a disk: the
/// thread that renews permissions must not.
pub(crate) fn write_for_this_boot<T: Serialize>(path: &Path, document: &T) -> Result<(), StoreError> {
    let text = serde_json::to_vec(document).map_err(|e| failed("encode", path)(e.into()))?;
    put(path, &text, |_| Ok(())).map_err(failed("write", path))
}

/// Temporary file, fsync, rename, fsync of the directory.
fn replace(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let write = || {
        put(path, content, File::sync_all)?;
        File::open(parent(path))?.sync_all()
    };
    write().map_err(failed("write", path))
}

/// Temporary file, `settle` and rename.
fn put(path: &Path, content: &[u8], settle: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(NEW).tempfile_in(parent(path))?;
    file.write_all(content)?;
    settle(file.as_file())?;
    Ok(file.persist(path).map(drop)?)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests;
