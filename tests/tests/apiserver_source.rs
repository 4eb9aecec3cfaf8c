//! The helper and the Kubernetes API as its source of truth.

#[path = "source/addresses.rs"]
mod addresses;
#[path = "source/numbers.rs"]
mod numbers;
#[path = "source/outage.rs"]
mod outage;
#[path = "source/role.rs"]
mod role;
#[path = "source/scale.rs"]
mod scale;
#[path = "source/taint.rs"]
mod taint;
#[path = "source/watches.rs"]
mod watches;

use anyhow::Result;
use sortie_testkit::Lab;
use sortie_testkit::manifest;
use sortie_tests::api::ApiScene;
use sortie_tests::scenario;

/// A policy for the pods labelled `app: sip`.
fn policy() -> String {
    manifest::policy("default", "sip", "podSelector: {matchLabels: {app: sip}}, route: b")
}

/// Runs a test with an API server; when it fails, says what the node looked like.
fn with_api(test: impl FnOnce(&Lab, ApiScene<'_>) -> Result<()>) -> Result<()> {
    scenario(|lab| test(lab, ApiScene::new(lab)?))
}
