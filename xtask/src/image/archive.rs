//! Tar files whose bytes depend on nothing but their content, and blobs named by their digest.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A tar file in the making; folders are added before what is in them.
pub(super) struct Archive {
    tar: tar::Builder<Vec<u8>>,
    folders: BTreeSet<String>,
    time: u64,
}

impl Archive {
    pub(super) fn new(time: u64) -> Self {
        Self { tar: tar::Builder::new(Vec::new()), folders: BTreeSet::new(), time }
    }

    /// Adds a file of root; the path has no slash in front.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        for (at, _) in path.match_indices('/') {
            if self.folders.insert(path[..at].to_owned()) {
                self.entry((tar::EntryType::Directory, 0o755), &path[..=at], &[])?;
            }
        }
        self.entry((tar::EntryType::Regular, mode), path, content)
    }

    fn entry(&mut self, (kind, mode): (tar::EntryType, u32), path: &str, content: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.time);
        header.set_size(content.len() as u64);
        self.tar.append_data(&mut header, path, content).with_context(|| format!("cannot add {path} to the archive"))
    }

    pub(super) fn finish(self) -> Result<Vec<u8>> {
        self.tar.into_inner().context("cannot finish the archive")
    }
}

/// A part of an image.
pub(super) struct Blob {
    media_type: &'static str,
    hash: String,
    pub(super) content: Vec<u8>,
}

impl Blob {
    pub(super) fn new(media_type: &'static str, content: Vec<u8>) -> Self {
        let hash = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { media_type, hash, content }
    }

    pub(super) fn json(media_type: &'static str, value: &Value) -> Self {
        Self::new(media_type, value.to_string().into_bytes())
    }

    pub(super) fn digest(&self) -> String {
        format!("sha256:{}", self.hash)
    }

    pub(super) fn path(&self) -> String {
        format!("blobs/sha256/{}", self.hash)
    }

    pub(super) fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.content.len()})
    }
}
