//! Licences of everything the products and their tests are built from.
//!
//! Guarantees: every package of `Cargo.lock` carries a licence expression that the list in `deny.toml` satisfies.
//! Leaves out: advisories and sources, which `cargo deny check` covers where that program is installed.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{metadata, progress};

/// `licences`.
pub(crate) fn run(root: &Path, _: &[String]) -> Result<()> {
    let file = root.join("deny.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let allowed = allow_list(&text);
    if allowed.is_empty() {
        bail!("deny.toml has no [licenses] allow list");
    }
    let metadata = metadata::read(root)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let refused: Vec<String> = packages.iter().filter_map(|package| refusal(package, &allowed)).collect();
    for message in &refused {
        progress::line(&format!("  {message}"));
    }
    if !refused.is_empty() {
        bail!("{} of {} packages have a licence that deny.toml does not allow", refused.len(), packages.len());
    }
    progress::line(&format!("  {} packages", packages.len()));
    Ok(())
}

fn refusal(package: &Value, allowed: &BTreeSet<String>) -> Option<String> {
    let name = package["name"].as_str().unwrap_or("?");
    let Some(licence) = package["license"].as_str() else {
        return Some(format!("{name}: no licence expression"));
    };
    (!satisfied(licence, allowed)).then(|| format!("{name}: {licence}"))
}

/// The strings of `allow = [` in the `[licenses]` section, one a line.
pub(crate) fn allow_list(deny: &str) -> BTreeSet<String> {
    let section = deny.lines().skip_while(|line| line.trim() != "[licenses]").skip(1);
    let list = section.take_while(|line| !line.starts_with('[')).skip_while(|line| !line.starts_with("allow = ["));
    let entries = list.skip(1).take_while(|line| line.trim() != "]");
    entries.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// Whether the licences in `allowed` are enough for `expression` (SPDX, and the old `A/B` for `A OR B`).
pub(crate) fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let holds = any_of(&mut rest, allowed);
    holds && rest.is_empty()
}

fn any_of(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut holds = all_of(words, allowed);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        holds |= all_of(words, allowed);
    }
    holds
}

fn all_of(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut holds = one(words, allowed);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        holds &= one(words, allowed);
    }
    holds
}

fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let holds = any_of(words, allowed);
            let closed = words.first() == Some(&")");
            *words = words.get(1..).unwrap_or_default();
            holds && closed
        }
        [licence, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(&format!("{licence} WITH {exception}")) || allowed.contains(*licence)
        }
        [licence, rest @ ..] => {
            *words = rest;
            allowed.contains(*licence)
        }
        [] => false,
    }
}
