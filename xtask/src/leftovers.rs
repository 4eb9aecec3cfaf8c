//! What a test left on this machine.
//!
//! Guarantees: a namespace, a control group, a process, a mount or a folder that carries the tests' prefix is named. Leaves out:
//! whose it is: run it when no test runs.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::progress;

/// Prefix of every namespace and control group a test creates.
const NAMESPACE: &str = "so-";
/// Prefix of every temporary folder a test creates.
const FOLDER: &str = "sortie-";

/// `leftovers`.
pub(crate) fn run(_: &Path, _: &[String]) -> Result<()> {
    let mut found = named(Path::new("/run/netns"), NAMESPACE, "namespace");
    for hierarchy in children(Path::new("/sys/fs/cgroup")) {
        found.extend(named(&hierarchy, NAMESPACE, "control group"));
    }
    found.extend(named(&std::env::temp_dir(), FOLDER, "folder"));
    found.extend(mounts(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()));
    found.extend(processes());
    for line in &found {
        progress::line(&format!("  {line}"));
    }
    if !found.is_empty() {
        bail!("{} things were left behind", found.len());
    }
    Ok(())
}

fn named(folder: &Path, prefix: &str, kind: &str) -> Vec<String> {
    let paths = children(folder).into_iter().filter(|path| file_name(path).starts_with(prefix));
    paths.map(|path| format!("{kind} {}", path.display())).collect()
}

/// Mounts below one of our folders or namespaces (`proc(5)`: the fifth field is the mount point).
fn mounts(table: &str) -> Vec<String> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| ours(point));
    points.map(|point| format!("mount {point}")).collect()
}

/// Processes whose command line names one of our folders.
fn processes() -> Vec<String> {
    let numbered = children(Path::new("/proc")).into_iter().filter(|path| file_name(path).parse::<u32>().is_ok());
    let lines = numbered.filter_map(|path| {
        let line = String::from_utf8_lossy(&std::fs::read(path.join("cmdline")).ok()?).replace('\0', " ");
        ours(&line).then(|| format!("process {}: {}", file_name(&path), line.trim()))
    });
    lines.collect()
}

fn ours(text: &str) -> bool {
    let folder = std::env::temp_dir().join(FOLDER);
    text.contains(&*folder.to_string_lossy()) || text.contains(&format!("/netns/{NAMESPACE}"))
}

fn children(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::mounts;

    #[test]
    fn a_mount_of_a_test_is_told_from_others() {
        let table = "1 2 0:3 / /proc rw - proc proc rw\n9 2 0:4 / /tmp/sortie-a1/run rw - tmpfs none rw\n\
                     11 2 0:5 net:[4026] /run/netns/so-a1-node rw - nsfs nsfs rw\n";
        assert_eq!(mounts(table), ["mount /tmp/sortie-a1/run", "mount /run/netns/so-a1-node"]);
    }
}
