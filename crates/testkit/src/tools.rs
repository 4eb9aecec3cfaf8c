//! Programs of other projects that the tests drive: CNI plugins, containerd, runc, etcd, Kubernetes.
//!
//! Guarantees: what [`ensure`] returns was built from the pinned modules in `tests/tools/<group>`; two processes that
//! ask at once build once. Leaves out: installing Go (`cargo xtask setup`).

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::programs;
use crate::wait::poll;

/// How often a long build says how far it is.
const NEWS: Duration = Duration::from_secs(20);
/// How many lines of a failed build are shown.
const TAIL: usize = 30;

/// Programs that come out of one Go module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `cnitool` and the reference plugins.
    Cni,
    /// `containerd`, its shim, `ctr`, and `cri`, our client of its interface.
    Containerd,
    /// `runc`.
    Runc,
    /// `etcd`.
    Etcd,
    /// The programs of a control plane and of a node, and `kubectl`.
    Kubernetes,
    /// `kustomize` and `helm`.
    Manifests,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 6] = [Self::Cni, Self::Containerd, Self::Runc, Self::Etcd, Self::Kubernetes, Self::Manifests];

    /// Folder in `tests/tools`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cni => "cni",
            Self::Containerd => "containerd",
            Self::Runc => "runc",
            Self::Etcd => "etcd",
            Self::Kubernetes => "kubernetes",
            Self::Manifests => "manifests",
        }
    }

    /// runc needs C for entering namespaces; with libseccomp it also filters system calls.
    fn options(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Runc if Path::new("/usr/include/seccomp.h").exists() => ("1", Some("-tags=seccomp")),
            Self::Runc => ("1", None),
            Self::Cni | Self::Containerd | Self::Etcd | Self::Kubernetes | Self::Manifests => ("0", None),
        }
    }

    /// What the linker is told. Without its version in it a kubelet says v0.0.0, which clients take for an old one.
    fn link(self, pins: &str) -> Result<String> {
        let plain = "-ldflags=-s -w".to_owned();
        if self != Self::Kubernetes {
            return Ok(plain);
        }
        let version = version(pins, "k8s.io/kubernetes").context("go.mod names no version of Kubernetes")?;
        let (major, rest) = version.trim_start_matches('v').split_once('.').context("a version without a dot")?;
        let minor = rest.split('.').next().unwrap_or(rest);
        let set = "-X k8s.io/component-base/version.git";
        Ok(format!("{plain} {set}Version={version} {set}Major={major} {set}Minor={minor} {set}TreeState=clean"))
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

/// The version of a module that is pinned.
fn version<'a>(pins: &'a str, module: &str) -> Option<&'a str> {
    pins.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "require");
        (words.next() == Some(module)).then(|| words.next()).flatten()
    })
}

fn build(group: Group, source: &Path, out: &Path) -> Result<()> {
    let (cgo, tags) = group.options();
    let link = group.link(&pins(source)?)?;
    let mut go = Command::new("go");
    go.current_dir(source).env("CGO_ENABLED", cgo).env("GOFLAGS", "-mod=readonly -trimpath -buildvcs=false");
    go.args(["build", "-v", &link]).args(tags).arg("-o").arg(out).arg("tool").stdin(Stdio::null());
    go.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = go.spawn().context("cannot start go; `cargo xtask setup` installs it")?;
    let said = child.stderr.take().context("go has no standard error")?;
    let lines = Mutex::new(Vec::new());
    let status = std::thread::scope(|scope| {
        let collect = |line| lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        scope.spawn(move || BufReader::new(said).lines().map_while(Result::ok).for_each(collect));
        await_end(group, &mut child, || lines.lock().unwrap_or_else(PoisonError::into_inner).len())
    })?;
    if !status.success() {
        let lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
        let last = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        bail!("go build in {} ended with {status}: {last}", source.display());
    }
    Ok(())
}

/// Waits for a build and says now and then how many packages it has `done`.
fn await_end(group: Group, child: &mut Child, done: impl Fn() -> usize) -> Result<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Ok(status) = poll(NEWS, "the end of a build", || child.try_wait().transpose()) {
            return status.context("cannot wait for go");
        }
        eprintln!("    {}: {} packages, {} s", group.name(), done(), started.elapsed().as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::{Group, version};

    const PINS: &str = "require k8s.io/kubernetes v1.34.4 // indirect\nk8s.io/kubernetes v1.34.4 h1:abc=\n";

    #[test]
    fn kubernetes_is_told_the_version_it_is_pinned_to() {
        assert_eq!(version(PINS, "k8s.io/kubernetes"), Some("v1.34.4"));
        assert_eq!(version(PINS, "k8s.io/kube"), None);
        let link = Group::Kubernetes.link(PINS).unwrap();
        assert!(link.contains("gitVersion=v1.34.4 ") && link.contains("gitMinor=34 "), "{link}");
    }
}
