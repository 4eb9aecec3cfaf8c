//! The cluster's certificate authority.
//!
//! Guarantees: everything is signed by one authority that lives and ends with the value; keys are written readable for
//! their owner only. Leaves out: revocation and renewal.

use std::fs::Permissions;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

/// Signs the certificates of one cluster.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    issued: AtomicU32,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM, PKCS 8.
    pub key: PathBuf,
}

/// What a server is called besides its user name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// DNS names.
    pub hosts: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

impl Authority {
    /// A new authority that keeps its files in `folder`, which exists.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn new(folder: &Path) -> Result<Self> {
        let mut wanted = CertificateParams::default();
        wanted.distinguished_name = name("sortie-test-authority", None);
        wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(wanted, key()?).context("cannot sign the authority")?;
        let authority = Self { issuer, folder: folder.to_path_buf(), issued: AtomicU32::new(0) };
        secret(&authority.identity("ca").certificate, &authority.issuer.pem())?;
        secret(&authority.identity("ca").key, &authority.issuer.key().serialize_pem())?;
        Ok(authority)
    }

    /// The authority's own certificate and key.
    #[must_use]
    pub fn own(&self) -> Identity {
        self.identity("ca")
    }

    /// A certificate for a user, perhaps of a group, that may also serve under `names`.
    ///
    /// # Errors
    /// When it cannot be signed or written.
    pub fn issue(&self, user: &str, group: Option<&str>, names: &Names) -> Result<Identity> {
        let mut wanted = CertificateParams::new(names.hosts.clone()).context("a name is no DNS name")?;
        wanted.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
        wanted.distinguished_name = name(user, group);
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = key()?;
        let signed = wanted.signed_by(&key, &self.issuer).with_context(|| format!("cannot sign {user}"))?;
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let identity = self.identity(&format!("{}-{number}", user.replace([':', '/'], "-")));
        secret(&identity.certificate, &signed.pem())?;
        secret(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }

    /// A pair of keys without a certificate: what signs tokens, and what checks them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keys(&self, name: &str) -> Result<Identity> {
        let (key, identity) = (key()?, self.identity(name));
        secret(&identity.certificate, &key.public_key_pem())?;
        secret(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }

    /// The files of this name.
    pub(super) fn identity(&self, name: &str) -> Identity {
        let path = |end: &str| self.folder.join(format!("{name}.{end}"));
        Identity { certificate: path("crt"), key: path("key") }
    }
}

fn key() -> Result<KeyPair> {
    KeyPair::generate().context("cannot make a key")
}

/// As Kubernetes reads it: the common name is the user, the organization a group.
fn name(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name
}

fn secret(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
        .with_context(|| format!("cannot protect {}", path.display()))
}
