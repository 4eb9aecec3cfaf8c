//! The secret all helpers of a cluster share.
//!
//! Guarantees: a key is at least [`KEY_MIN`] bytes and comes from a file that other users cannot read; it is never
//! printed. Leaves out: rotation (every helper is restarted with the new file) and the agreement on one key.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Shortest key, in bytes.
pub const KEY_MIN: usize = 32;

/// Longest key file, in bytes.
pub const KEY_MAX: usize = 4096;

/// Bytes of a message authentication code.
pub(crate) const MAC_LEN: usize = 32;

/// Mode bits that let users outside the file's group touch it.
const OTHERS: u32 = 0o007;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be opened or read.
    #[error("cannot read the peer key {path}; create it with: head -c 32 /dev/urandom > {path}")]
    Read {
        /// The file.
        path: String,
        /// errno.
        source: std::io::Error,
    },
    /// Other users may read the file.
    #[error("the peer key {path} is open to other users (mode {mode:04o}); run: chmod 0600 {path}")]
    Exposed {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Too few or too many bytes.
    #[error(
        "the peer key {path} has {length} bytes, needed are {KEY_MIN} to {KEY_MAX}; \
         create it with: head -c 32 /dev/urandom > {path}"
    )]
    Length {
        /// The file.
        path: String,
        /// Its length in bytes.
        length: usize,
    },
    /// The key is refused by the algorithm.
    #[error("the peer key cannot be used")]
    Unusable(#[from] InvalidLength),
}

/// A key for HMAC-SHA256.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key(secret)")
    }
}

impl Key {
    /// The key in `path`. Every byte counts, a final line feed too: the file must be the same on all nodes.
    ///
    /// # Errors
    /// [`KeyError::Read`], [`KeyError::Exposed`] when users outside the file's group have any access, and
    /// [`KeyError::Length`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let name = || path.display().to_string();
        let failed = |source| KeyError::Read { path: name(), source };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
        if mode & OTHERS != 0 {
            return Err(KeyError::Exposed { path: name(), mode });
        }
        let mut secret = Vec::new();
        file.take(KEY_MAX as u64 + 1).read_to_end(&mut secret).map_err(failed)?;
        if !(KEY_MIN..=KEY_MAX).contains(&secret.len()) {
            return Err(KeyError::Length { path: name(), length: secret.len() });
        }
        Self::new(&secret)
    }

    /// The key with these bytes; the length is the caller's business.
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        Ok(Self(Hmac::new_from_slice(secret)?))
    }

    /// The code of `message`.
    pub(crate) fn code(&self, message: &[u8]) -> [u8; MAC_LEN] {
        self.0.clone().chain_update(message).finalize().into_bytes().into()
    }

    /// Whether `code` is that of `message`, in a time that does not depend on where they differ.
    pub(crate) fn is_code(&self, message: &[u8], code: &[u8]) -> bool {
        self.0.clone().chain_update(message).verify_slice(code).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(mode: u32, length: usize) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; length]).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_key_others_cannot_read_is_taken() {
        assert!(Key::read(file(0o400, 32).path()).is_ok());
        assert!(Key::read(file(0o440, 64).path()).is_ok());
    }

    #[test]
    fn a_key_others_can_read_is_refused_with_the_remedy() {
        let file = file(0o644, 32);
        let error = Key::read(file.path()).unwrap_err();
        assert!(matches!(error, KeyError::Exposed { mode: 0o644, .. }));
        assert!(error.to_string().ends_with(&format!("chmod 0600 {}", file.path().display())));
    }

    #[test]
    fn a_key_of_the_wrong_length_is_refused() {
        assert!(matches!(Key::read(file(0o600, 31).path()), Err(KeyError::Length { length: 31, .. })));
        assert!(matches!(Key::read(file(0o600, 5000).path()), Err(KeyError::Length { length: 4097, .. })));
    }

    #[test]
    fn a_missing_key_is_named_with_the_remedy() {
        let error = Key::read(Path::new("/nonexistent/key")).unwrap_err();
        assert!(error.to_string().contains("/dev/urandom > /nonexistent/key"));
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", Key::new(&[7; 32]).unwrap()), "Key(secret)");
    }
}
