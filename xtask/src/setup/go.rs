//! A Go toolchain that can build the programs the tests drive.
//!
//! Guarantees: `go` on the search path of every later step is new enough, or the answer says what to do.
//! Leaves out: changing a Go installation that is already there.
//!
//! Debian's Go may be older than the programs need. From 1.21 on it fetches a newer toolchain by itself
//! (`GOTOOLCHAIN=auto`); before that it can at least download the toolchain, which is a module.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::install;
use crate::command::{Tool, find};
use crate::progress;

/// Oldest toolchain that builds the programs.
const NEEDED: (u32, u32) = (1, 25);
/// Oldest toolchain that fetches newer ones by itself.
const SELF_UPDATING: (u32, u32) = (1, 21);
/// Fetched where none of the above is there.
const FETCHED: &str = "v0.0.1-go1.25.4.linux-amd64";

/// Finds or installs Go and says which.
///
/// # Errors
/// When there is none and none can be fetched.
pub(super) fn ensure(root: &Path) -> Result<String> {
    if find("go").is_none() && fetched(root).is_none() {
        install(root, &["golang-go"])?;
    }
    let go = fetched(root).or_else(|| find("go")).context("go is not there even after installing golang-go")?;
    let text = Tool::new(&go, root).arguments(&["version"]).capture()?;
    match version(&text) {
        Some(found) if found >= NEEDED => Ok(text.trim().to_owned()),
        Some(found) if found >= SELF_UPDATING => Ok(format!("{}, fetches a newer one by itself", text.trim())),
        Some(_) => fetch(root, &go),
        None => bail!("`go version` says {text:?}; install Go {}.{} or newer", NEEDED.0, NEEDED.1),
    }
}

/// The toolchain that [`fetch`] left in an earlier run.
fn fetched(root: &Path) -> Option<PathBuf> {
    Some(root.join(".cache/go/bin/go")).filter(|path| path.is_file())
}

fn fetch(root: &Path, go: &Path) -> Result<String> {
    let module = format!("golang.org/toolchain@{FETCHED}");
    progress::line(&format!("    go: fetching {module} through the module proxy"));
    let answer = Tool::new(go, root).arguments(&["mod", "download", "-json", &module]).capture()?;
    let answer: Value = serde_json::from_str(&answer).context("go mod download printed something that is not JSON")?;
    let directory = PathBuf::from(answer["Dir"].as_str().context("go mod download names no directory")?);
    executable(&directory.join("bin"))?;
    executable(&directory.join("pkg/tool/linux_amd64"))?;
    let link = root.join(".cache/go");
    std::fs::create_dir_all(root.join(".cache")).context("cannot create .cache")?;
    let _ = std::fs::remove_file(&link);
    symlink(&directory, &link).with_context(|| format!("cannot link {}", link.display()))?;
    Ok(format!("{FETCHED} in {}", directory.display()))
}

/// A module carries no execute permission: give it back.
fn executable(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))? {
        let path = entry?.path();
        set_permissions(&path, Permissions::from_mode(0o755))
            .with_context(|| format!("cannot chmod {}", path.display()))?;
    }
    Ok(())
}

/// Major and minor number in `go version go1.25.4 linux/amd64`.
fn version(text: &str) -> Option<(u32, u32)> {
    let number = text.split_whitespace().find_map(|word| word.strip_prefix("go").filter(|rest| rest.contains('.')))?;
    let mut parts = number.split('.').map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn the_version_is_read_from_releases_and_candidates() {
        assert_eq!(version("go version go1.25.4 linux/amd64"), Some((1, 25)));
        assert_eq!(version("go version go1.26rc1 linux/amd64"), Some((1, 26)));
        assert_eq!(version("go version devel linux/amd64"), None);
    }
}
