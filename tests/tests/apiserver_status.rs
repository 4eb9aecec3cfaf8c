//! What the helpers write into the status of our objects.

#[path = "status/conditions.rs"]
mod conditions;
#[path = "status/happenings.rs"]
mod happenings;
#[path = "status/nodes.rs"]
mod nodes;
#[path = "status/policies.rs"]
mod policies;
#[path = "status/services.rs"]
mod services;
#[path = "status/tables.rs"]
mod tables;

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use sortie_testkit::kube::Kubectl;
use sortie_testkit::{Lab, poll};
use sortie_tests::api::ApiScene;
use sortie_tests::scenario;

/// How long a write may take on a busy machine.
const WRITTEN: Duration = Duration::from_secs(30);

/// Runs a test with an API server; when it fails, says what the node looked like.
fn with_api(test: impl FnOnce(&Lab, ApiScene<'_>) -> Result<()>) -> Result<()> {
    scenario(|lab| test(lab, ApiScene::new(lab)?))
}

/// Waits for the status of an object.
fn await_status(admin: &Kubectl, object: &[&str], wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    poll(WRITTEN, "the status", || {
        last = admin.get(object).map(|object| object["status"].clone()).unwrap_or_default();
        wanted(&last).then(|| last.clone())
    })
    .with_context(|| format!("{object:?} last {last}"))
}

/// A condition of a status.
fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}
