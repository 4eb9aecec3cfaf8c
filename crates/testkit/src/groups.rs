//! Control groups (version 1) of one test.
//!
//! Guarantees: what a group still holds is ended before it is removed; one that a killed test left is removed by the
//! next. Leaves out: limits, which the programs in them set, and machines that have only version 2.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::until;

/// Where the hierarchies are.
const HIERARCHIES: &str = "/sys/fs/cgroup";
/// The hierarchy of version 2 among them.
const SECOND: &str = "unified";
/// What a group of the hierarchy `cpuset` must say before it takes a process.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];
/// How long the last process of a group may take.
const END: Duration = Duration::from_secs(30);

/// A group in every hierarchy.
#[derive(Debug)]
pub struct ControlGroup {
    name: String,
}

impl ControlGroup {
    /// Makes it at the top of every hierarchy of version 1.
    ///
    /// # Errors
    /// When there is none, or the kernel refuses.
    pub fn new(name: &str) -> Result<Self> {
        let group = Self { name: name.to_owned() };
        let hierarchies = folders(Path::new(HIERARCHIES)).into_iter().filter(|path| !path.ends_with(SECOND));
        let hierarchies: Vec<PathBuf> = hierarchies.filter(|path| path.join("tasks").exists()).collect();
        ensure!(!hierarchies.is_empty(), "no control groups of version 1 in {HIERARCHIES}");
        for hierarchy in hierarchies {
            let path = hierarchy.join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
            for file in CPUSET.into_iter().filter(|file| hierarchy.join(file).exists()) {
                std::fs::copy(hierarchy.join(file), path.join(file)).with_context(|| format!("cannot copy {file}"))?;
            }
        }
        Ok(group)
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Ends everything in the groups of this name and removes them from every hierarchy.
pub(crate) fn remove(name: &str) {
    folders(Path::new(HIERARCHIES)).iter().for_each(|hierarchy| remove_from(&hierarchy.join(name)));
}

/// Names at the top of any hierarchy.
pub(crate) fn names() -> Vec<String> {
    let groups = folders(Path::new(HIERARCHIES)).into_iter().flat_map(|hierarchy| folders(&hierarchy));
    let mut names: Vec<String> =
        groups.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names.dedup();
    names
}

/// Innermost first.
fn remove_from(group: &Path) {
    folders(group).iter().for_each(|inner| remove_from(inner));
    let inside = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in inside.lines().filter_map(|line| line.parse().ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    if group.is_dir() && until(END, "an empty group", || std::fs::remove_dir(group).is_ok()).is_err() {
        eprintln!("control group {} stays", group.display());
    }
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}
