//! Network namespaces of one test.
//!
//! Guarantees: every namespace is named `so-<pid>-<number>-<label>`; dropping [`Net`] ends what still runs in them and
//! removes them; what a killed test process left is removed by the next [`Net::new`]. Leaves out: what is in them.

mod enter;
mod reap;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use anyhow::{Context, Result};

use crate::command;
use crate::scratch::Scratch;

pub(crate) use enter::detach;
pub use enter::{Mounts, bind, memory};

/// Where `ip netns` keeps names.
const NAMES: &str = "/run/netns";

static NUMBER: AtomicU32 = AtomicU32::new(0);
static REAPED: Once = Once::new();

/// The namespaces and the folder of one test.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    names: Mutex<Vec<String>>,
    scratch: Scratch,
}

impl Net {
    /// Nothing yet.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn new() -> Result<Self> {
        REAPED.call_once(reap::dead);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("so-{}-{number}-", std::process::id());
        Ok(Self { prefix, names: Mutex::default(), scratch: Scratch::new()? })
    }

    /// The folder of the test.
    #[must_use]
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// A new namespace with `lo` up and no duplicate address detection.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn namespace(&self, label: &str) -> Result<Namespace> {
        let name = format!("{}{label}", self.prefix);
        command::text(Command::new("ip").args(["netns", "add", &name]), "")?;
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        let path = Path::new(NAMES).join(&name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let namespace = Namespace { label: label.to_owned(), name, net: Arc::new(file), mounts: None };
        for scope in ["all", "default"] {
            namespace.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
            namespace.sysctl(&format!("net/ipv6/conf/{scope}/accept_ra"), "0")?;
        }
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Removes a namespace before the others; one that is gone is fine.
    pub fn remove(&self, namespace: &Namespace) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).retain(|name| *name != namespace.name);
        reap::namespace(&namespace.name);
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in self.names.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            reap::namespace(&name);
        }
    }
}

/// A network namespace, perhaps seen with private mounts.
#[derive(Clone, Debug)]
pub struct Namespace {
    label: String,
    name: String,
    net: Arc<File>,
    mounts: Option<Mounts>,
}

impl Namespace {
    /// What it was called in [`Net::namespace`].
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its full name, for `ip netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path, for `CNI_NETNS`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(NAMES).join(&self.name)
    }

    /// The same network with other mounts.
    #[must_use]
    pub fn with_mounts(&self, mounts: Mounts) -> Self {
        Self { mounts: Some(mounts), ..self.clone() }
    }

    /// Runs `work` on a thread of its own inside. Sockets opened there stay there.
    ///
    /// # Errors
    /// When it cannot be entered; the errors of `work`.
    pub fn with<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        enter::on_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// Takes the calling thread inside for good; only for threads that were made for it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&self) -> Result<()> {
        enter::enter(&self.net, self.mounts.as_ref()).with_context(|| format!("cannot enter {}", self.name))
    }

    /// Starts a program inside.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.with(|| command.spawn().with_context(|| format!("cannot start {command:?}")))
    }

    /// Runs a program inside to its end and returns what it printed.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.with(|| command::text(Command::new(program).args(arguments), ""))
    }

    /// Runs lines of `ip`, without the word itself. Lines that start with `-6` come last.
    ///
    /// # Errors
    /// The first line that fails.
    pub fn ip(&self, lines: &str) -> Result<()> {
        let lines = || lines.lines().map(str::trim).filter(|line| !line.is_empty());
        let plain: Vec<&str> = lines().filter(|line| !line.starts_with("-6 ")).collect();
        let six: Vec<&str> = lines().filter_map(|line| line.strip_prefix("-6 ")).collect();
        self.ip_batch(&["-batch", "-"], &plain)?;
        self.ip_batch(&["-6", "-batch", "-"], &six)
    }

    fn ip_batch(&self, options: &[&str], lines: &[&str]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.with(|| command::text(Command::new("ip").args(options), &lines.join("\n")))
            .map(drop)
            .with_context(|| format!("{} in {}", lines.join("; "), self.name))
    }

    /// Runs an nft script.
    ///
    /// # Errors
    /// When nft refuses it.
    pub fn nft(&self, script: &str) -> Result<()> {
        self.with(|| command::text(Command::new("nft").args(["-f", "-"]), script)).map(drop)
    }

    /// Sets `/proc/sys/<key>`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.with(|| std::fs::write(&path, value).with_context(|| format!("cannot write {}", path.display())))
    }

    /// Reads `/proc/sys/<key>`, trimmed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn sysctl_value(&self, key: &str) -> Result<String> {
        let path = Path::new("/proc/sys").join(key);
        let text =
            self.with(|| std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display())))?;
        Ok(text.trim().to_owned())
    }

    /// Connects two namespaces by a pair of devices, both up.
    ///
    /// # Errors
    /// When a device cannot be created.
    pub fn wire(&self, device: &str, (peer, peer_device): (&Self, &str)) -> Result<()> {
        let peer_name = peer.name();
        self.ip(&format!(
            "link add {device} type veth peer name {peer_device} netns {peer_name}\nlink set dev {device} up"
        ))?;
        peer.ip(&format!("link set dev {peer_device} up"))
    }
}
