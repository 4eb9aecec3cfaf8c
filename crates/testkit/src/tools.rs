//! Programs of other projects that the tests drive: CNI plugins, containerd, runc.
//!
//! Guarantees: what [`ensure`] returns was built from the pinned modules in `tests/tools/<group>`; two processes that
//! ask at once build once. Leaves out: installing Go (`cargo xtask setup`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::programs;

/// Programs that come out of one Go module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `cnitool` and the reference plugins.
    Cni,
    /// `containerd`, its shim, `ctr`, and `cri`, our client of its interface.
    Containerd,
    /// `runc`.
    Runc,
    /// `kustomize` and `helm`.
    Manifests,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 4] = [Self::Cni, Self::Containerd, Self::Runc, Self::Manifests];

    /// Folder in `tests/tools`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cni => "cni",
            Self::Containerd => "containerd",
            Self::Runc => "runc",
            Self::Manifests => "manifests",
        }
    }

    /// runc needs C for entering namespaces; with libseccomp it also filters system calls.
    fn options(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Runc if Path::new("/usr/include/seccomp.h").exists() => ("1", Some("-tags=seccomp")),
            Self::Runc => ("1", None),
            Self::Cni | Self::Containerd | Self::Manifests => ("0", None),
        }
    }
}

/// The folder with the programs of `group`, built now if they are missing or their pins have changed.
///
/// # Errors
/// When Go is missing, a module cannot be fetched or does not build.
pub fn ensure(group: Group) -> Result<PathBuf> {
    let source = programs::workspace().join("tests/tools").join(group.name());
    let out = programs::target().join("tools/bin");
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let lock =
        File::create(out.join(format!(".{}.lock", group.name()))).context("cannot create the lock of the tools")?;
    let lock =
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno).context("cannot lock the tools")?;
    let pins = pins(&source)?;
    let stamp = out.join(format!(".{}.pins", group.name()));
    if fs::read_to_string(&stamp).is_ok_and(|built| built == pins) {
        return Ok(out);
    }
    eprintln!("building {} programs from their Go modules, once", group.name());
    build(group, &source, &out)?;
    fs::write(&stamp, pins).with_context(|| format!("cannot write {}", stamp.display()))?;
    drop(lock);
    Ok(out)
}

/// Everything a group is built from: the pins, and programs of our own in folders beside them.
fn pins(source: &Path) -> Result<String> {
    let mut files = vec![source.join("go.mod"), source.join("go.sum")];
    for entry in fs::read_dir(source).with_context(|| format!("cannot list {}", source.display()))? {
        let own = entry?.path().join("main.go");
        files.extend(own.is_file().then_some(own));
    }
    files.sort();
    let read = |path: &PathBuf| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    files.iter().map(read).collect()
}

fn build(group: Group, source: &Path, out: &Path) -> Result<()> {
    let (cgo, tags) = group.options();
    let mut go = Command::new("go");
    go.current_dir(source).env("CGO_ENABLED", cgo).env("GOFLAGS", "-mod=readonly -trimpath");
    go.args(["build", "-ldflags=-s -w"]).args(tags).arg("-o").arg(out).arg("tool").stdin(Stdio::null());
    let status = go.status().context("cannot start go; `cargo xtask setup` installs it")?;
    if !status.success() {
        bail!("go build in {} ended with {status}", source.display());
    }
    Ok(())
}
