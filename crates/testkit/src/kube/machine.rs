//! One node's machine: a process that is first of its kind, in mounts, process ids and a host name of its own.
//!
//! Guarantees: the machine's folder is all that outlives a boot; its end is a power cut, which takes every process, mount
//! and pod network at once. Leaves out: what runs on it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;

use crate::net::{Mounts, Namespace, bind, detach, memory};
use crate::process::Process;
use crate::wait::until;

/// What a machine has of its own besides its mounts and its network.
const OWN: CloneFlags = CloneFlags::CLONE_NEWUTS.union(CloneFlags::CLONE_NEWIPC).union(CloneFlags::CLONE_NEWPID);
/// The first process: shows the machine's processes in `/proc`, gives it copies of the switches that a kubelet sets,
/// which are the host's, then waits for ever and buries orphans.
const FIRST: &str = "umount -l /proc && mount -t proc proc /proc || exit 1
for key in kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes vm/overcommit_memory
do
    mkdir -p /run/switch/${key%/*} && cat /proc/sys/$key >/run/switch/$key || exit 1
    mount --bind /run/switch/$key /proc/sys/$key || exit 1
done
: >/run/ready
while :; do sleep 1000000 & wait $!; done";
/// Folders of a machine's disk, and where they are seen.
const DISK: [(&str, &str); 4] = [("lib", "/var/lib"), ("log", "/var/log"), ("opt", "/opt"), ("cni", "/etc/cni")];
/// How long a boot may take.
const BOOT: Duration = Duration::from_secs(20);
/// How long the end of everything may take.
const END: Duration = Duration::from_secs(20);

/// A machine that runs.
#[derive(Debug)]
pub(super) struct Machine {
    /// The node's network with everything of the machine.
    pub(super) inside: Namespace,
    // Taken at its end.
    first: Option<Process>,
}

impl Machine {
    /// Boots it as `name` in a network, with its disk in the folder `disk`.
    ///
    /// # Errors
    /// When the kernel refuses something; with what the first process said.
    pub(super) fn boot(network: &Namespace, (name, disk): (&str, &Path)) -> Result<Self> {
        let log = disk.join("first.log");
        for (folder, _) in DISK {
            std::fs::create_dir_all(disk.join(folder)).with_context(|| format!("cannot create {folder}"))?;
        }
        let mut command = Command::new("sh");
        command.args(["-c", FIRST]).current_dir("/");
        let first = network.with(|| {
            detach(OWN)?;
            nix::unistd::sethostname(name).context("cannot set the host name")?;
            mounts(disk)?;
            Process::start_here(&mut command, &log)
        })?;
        let ready = format!("/proc/{}/root/run/ready", first.id());
        until(BOOT, "a machine", || Path::new(&ready).exists()).with_context(|| first.log())?;
        Ok(Self { inside: network.with_mounts(Mounts::of(first.id())?), first: Some(first) })
    }

    /// Ends every process. Who started one waits for it before the value is dropped: the first process stays until then.
    pub(super) fn cut(&self) {
        // It may be gone.
        let _ = self.first.as_ref().map(|first| first.signal(Signal::SIGKILL));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.cut();
        let Some(mut first) = self.first.take() else { return };
        if first.wait(END).is_err() {
            eprintln!(
                "a program that was started in a machine from outside is not waited for; its first process stays"
            );
            // It ends when the program is waited for; waiting here could be for ever.
            std::mem::forget(first);
        }
    }
}

/// The machine's view of the file system. Folders the host lacks are made in memory, never on the host.
fn mounts(disk: &Path) -> Result<()> {
    memory(Path::new("/run"), "mode=755")?;
    for folder in ["/run/lock", "/run/netns", "/run/etc/new", "/run/etc/work"] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {folder}"))?;
    }
    let options = "lowerdir=/etc,upperdir=/run/etc/new,workdir=/run/etc/work";
    mount(Some("overlay"), "/etc", Some("overlay"), MsFlags::empty(), Some(options))
        .context("cannot lay a folder over /etc")?;
    std::fs::create_dir_all("/etc/cni").context("cannot create /etc/cni")?;
    for (folder, path) in DISK {
        bind(&disk.join(folder), Path::new(path))?;
    }
    // As a kubelet wants it.
    let shared = MsFlags::MS_REC | MsFlags::MS_SHARED;
    mount(None::<&str>, "/", None::<&str>, shared, None::<&str>).context("cannot share mounts with pods")
}
