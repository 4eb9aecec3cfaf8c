//! The dependency graph, as cargo tells it.
//!
//! Guarantees: [`Graph`] is a plain value, so that the checks on it are pure functions. Leaves out:
//! dev-dependencies, which no product contains.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::Tool;

/// Which package needs which, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    /// Declared normal and build dependencies of workspace members on other members.
    pub(crate) members: BTreeMap<String, BTreeSet<String>>,
    /// Everything linked into a member when it is built alone, with the features that build has.
    pub(crate) linked: BTreeMap<String, BTreeSet<String>>,
}

/// `cargo metadata` of the workspace.
///
/// # Errors
/// When cargo fails or prints something that is not JSON.
pub(crate) fn read(root: &Path) -> Result<Value> {
    let text = Tool::new("cargo", root).arguments(&["metadata", "--format-version", "1", "--locked"]).capture()?;
    serde_json::from_str(&text).context("cargo metadata printed something that is not JSON")
}

/// Declared edges between members, read from `cargo metadata`.
pub(crate) fn member_edges(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages = members(metadata);
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let edges = |package: &&Value| -> Option<(String, BTreeSet<String>)> {
        let needs = package["dependencies"].as_array()?.iter().filter(|d| d["kind"].as_str() != Some("dev"));
        let inside = needs.filter_map(|d| d["name"].as_str()).filter(|name| names.contains(name));
        Some((package["name"].as_str()?.to_owned(), inside.map(str::to_owned).collect()))
    };
    packages.iter().filter_map(edges).collect()
}

/// What is linked into `member` when it is built alone.
///
/// # Errors
/// When cargo fails.
pub(crate) fn linked(root: &Path, member: &str) -> Result<BTreeSet<String>> {
    let arguments =
        ["tree", "--locked", "--package", member, "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let text = Tool::new("cargo", root).arguments(&arguments).capture()?;
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

fn members(metadata: &Value) -> Vec<&Value> {
    let ids: BTreeSet<&str> =
        metadata["workspace_members"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages.filter(|package| package["id"].as_str().is_some_and(|id| ids.contains(id))).collect()
}
