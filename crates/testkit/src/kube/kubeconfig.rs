//! Configurations of clients.

use std::path::Path;

use serde_json::{Value, json};

use super::certificates::Identity;

/// A kubeconfig (JSON, which is YAML) for a user with a certificate. Files are named, not copied.
pub(super) fn certificate(url: &str, authority: &Path, user: &Identity) -> String {
    text(url, authority, &json!({"client-certificate": user.certificate, "client-key": user.key}))
}

/// The same for a user with a token.
pub(super) fn token(url: &str, authority: &Path, token: &str) -> String {
    text(url, authority, &json!({"token": token}))
}

fn text(url: &str, authority: &Path, user: &Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": authority}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    })
    .to_string()
}
