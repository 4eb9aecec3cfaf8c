//! Removing namespaces, our own and those of a test process that was killed.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::NAMES;
use crate::{command, groups};

/// Ends what runs in the namespace and removes it.
pub(super) fn namespace(name: &str) {
    let inside = command::text(Command::new("ip").args(["netns", "pids", name]), "").unwrap_or_default();
    for pid in inside.lines().filter_map(|line| line.trim().parse().ok()) {
        // Gone already is fine.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    if let Err(error) = command::text(Command::new("ip").args(["netns", "del", name]), "") {
        eprintln!("namespace {name} stays: {error:#}");
    }
}

/// Removes what processes left that are no more.
pub(super) fn dead() {
    for name in children(Path::new(NAMES)) {
        if owner(&name, "so-").is_some_and(is_gone) {
            namespace(&name);
        }
    }
    for name in groups::names() {
        if owner(&name, "so-").is_some_and(is_gone) {
            groups::remove(&name);
        }
    }
    let folder = std::env::temp_dir();
    for name in children(&folder) {
        if owner(&name, "sortie-").is_some_and(is_gone) {
            let _ = fs::remove_dir_all(folder.join(name));
        }
    }
}

/// The process id in `<prefix><pid>-…`.
fn owner(name: &str, prefix: &str) -> Option<u32> {
    name.strip_prefix(prefix)?.split_once('-')?.0.parse().ok()
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

fn children(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn the_owner_stands_after_the_prefix() {
        assert_eq!(owner("so-17-3-node", "so-"), Some(17));
        assert_eq!(owner("so-x-3-node", "so-"), None);
        assert_eq!(owner("other-17-3", "so-"), None);
    }
}
