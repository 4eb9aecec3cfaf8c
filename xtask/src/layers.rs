//! Dependencies point one way: `core` <- `ipc`, `kernel` <- `plugin`, `helper`.
//!
//! Guarantees: an edge that is not in [`MAY_NEED`], a crate that [`NEVER_LINKED`] keeps out of a product, and
//! a word that [`NEVER_SAID`] keeps out of a source file are found. Leaves out: what `core` calls in the standard
//! library, which clippy watches (`crates/core/clippy.toml`).

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::metadata::{self, Graph};
use crate::progress;

/// Members a member may need. A member that is not listed may need none.
const MAY_NEED: &[(&str, &[&str])] = &[
    ("sortie-ipc", &["sortie-core"]),
    ("sortie-kernel", &["sortie-core"]),
    ("sortie", &["sortie-core", "sortie-ipc", "sortie-kernel"]),
    ("sortie-helper", &["sortie-core", "sortie-ipc", "sortie-kernel", "sortie-peer"]),
    ("sortie-testkit", &["sortie-ipc"]),
    ("sortie-tests", &["sortie-ipc", "sortie-testkit"]),
    ("sortie-bench", &["sortie-testkit", "sortie-tests"]),
    ("xtask", &["sortie-core"]),
];

/// Crates that reach a file, a socket or a clock of their own accord.
const INPUT_OUTPUT: &[&str] =
    &["tokio", "mio", "async-*", "nix", "rustix", "socket2", "netlink-*", "rtnetlink", "tempfile", "kube", "kube-*"];

/// What the contract has no need for: it owns one blocking unix socket.
const RUNTIMES: &[&str] =
    &["tokio", "mio", "async-*", "nix", "rustix", "netlink-*", "rtnetlink", "tempfile", "kube", "kube-*"];

/// What only the helper may need.
const KUBERNETES: &[&str] = &["kube", "kube-*", "k8s-openapi"];

/// Crates never linked into a member, by name or by prefix with a final `*`.
const NEVER_LINKED: &[(&str, &[&str])] = &[
    ("sortie-core", INPUT_OUTPUT),
    ("sortie-ipc", RUNTIMES),
    ("sortie-kernel", KUBERNETES),
    ("sortie-peer", KUBERNETES),
    ("sortie-tests", KUBERNETES),
    ("sortie-bench", KUBERNETES),
    ("sortie", &["tokio", "tokio-*", "mio", "rtnetlink", "netlink-proto", "kube", "kube-*", "k8s-openapi"]),
];

/// Words never written in a file or a folder of sources (tests inside a file included).
const NEVER_SAID: &[(&str, &[&str])] = &[
    ("helper/src/folder.rs", &["sortie_kernel", "netlink"]),
    ("helper/src/folder", &["sortie_kernel", "netlink"]),
    ("helper/src/catalogue.rs", &["sortie_kernel", "netlink"]),
    ("helper/src/catalogue", &["sortie_kernel", "netlink"]),
    ("helper/src/kubernetes.rs", &["sortie_kernel", "netlink"]),
    ("helper/src/kubernetes", &["sortie_kernel", "netlink"]),
    ("helper/src/catalogue", &["kube::"]),
    ("crates/kernel/src", &["kube::", "k8s_openapi"]),
    ("tests", &["sortie_core", "sortie_kernel"]),
    ("bench", &["sortie_core", "sortie_kernel"]),
];

/// One thing that points the wrong way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation(String);

/// `check-layers`.
pub(crate) fn run(root: &Path, _: &[String]) -> Result<()> {
    let mut found = violations(&graph(root)?);
    for (place, words) in NEVER_SAID {
        for file in rust_files(&root.join(place))? {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            found.extend(spoken(&file.strip_prefix(root).unwrap_or(&file).display().to_string(), &text, words));
        }
    }
    for Violation(message) in &found {
        progress::line(&format!("  {message}"));
    }
    if !found.is_empty() {
        bail!("{} dependencies point the wrong way", found.len());
    }
    Ok(())
}

fn graph(root: &Path) -> Result<Graph> {
    let members = metadata::member_edges(&metadata::read(root)?);
    let linked = NEVER_LINKED.iter().map(|(member, _)| Ok(((*member).to_owned(), metadata::linked(root, member)?)));
    Ok(Graph { members, linked: linked.collect::<Result<_>>()? })
}

/// Every edge of `graph` that the tables above forbid.
pub(crate) fn violations(graph: &Graph) -> Vec<Violation> {
    let mut found = Vec::new();
    for (member, needs) in &graph.members {
        let may = row(MAY_NEED, member);
        let wrong = needs.iter().filter(|need| !may.contains(&need.as_str()));
        found.extend(wrong.map(|need| Violation(format!("{member} may not need {need}"))));
    }
    for (member, linked) in &graph.linked {
        let never = row(NEVER_LINKED, member);
        let wrong = linked.iter().filter(|name| never.iter().any(|pattern| fits(pattern, name)));
        found.extend(wrong.map(|name| Violation(format!("{member} may not link {name}"))));
    }
    found
}

/// The words of `words` that stand in `text`, each with its line.
pub(crate) fn spoken(file: &str, text: &str, words: &[&str]) -> Vec<Violation> {
    let lines = text.lines().zip(1..);
    let hits = lines.flat_map(|(line, number)| {
        words.iter().filter(move |word| line.contains(*word)).map(move |word| (number, word))
    });
    hits.map(|(number, word)| Violation(format!("{file}:{number} may not mention {word}"))).collect()
}

fn row<'a>(table: &[(&str, &'a [&'a str])], member: &str) -> &'a [&'a str] {
    table.iter().find(|(name, _)| *name == member).map_or(&[], |(_, row)| row)
}

fn fits(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}

/// Rust sources at `place`, which may be a file, a folder or nothing.
fn rust_files(place: &Path) -> Result<Vec<PathBuf>> {
    if place.is_file() {
        return Ok(vec![place.to_path_buf()]);
    }
    if !place.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(place).with_context(|| format!("cannot list {}", place.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
