//! containerd's configuration file.

use std::path::{Path, PathBuf};

/// Name of the socket in [`Folders::sockets`].
pub(crate) const SOCKET: &str = "sock";

/// Where containerd finds and keeps things.
#[derive(Debug)]
pub(crate) struct Folders<'a> {
    /// What outlives a boot.
    pub(crate) root: PathBuf,
    /// What does not.
    pub(crate) state: PathBuf,
    /// For its sockets.
    pub(crate) sockets: PathBuf,
    /// CNI plugins.
    pub(crate) plugins: Vec<PathBuf>,
    /// CNI networks.
    pub(crate) networks: PathBuf,
    /// With runc.
    pub(crate) programs: &'a Path,
    /// Image of every pod's first container; it is never pulled.
    pub(crate) sandbox: &'a str,
}

impl Folders<'_> {
    /// The file.
    pub(crate) fn text(&self) -> String {
        format!(
            r#"version = 3
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{sockets}/{SOCKET}"
[ttrpc]
  address = "{sockets}/ttrpc"
[plugins.'io.containerd.transfer.v1.local']
  unpack_config = [ {{ platform = "linux/amd64", snapshotter = "native", differ = "walking" }} ]
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "native"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{sandbox}"
[plugins.'io.containerd.cri.v1.runtime']
  # A container may lack the right to lower it.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = {plugins:?}
    conf_dir = "{networks}"
    max_conf_num = 1
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    snapshotter = "native"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "{programs}/runc"
      SystemdCgroup = false
"#,
            root = self.root.display(),
            state = self.state.display(),
            sockets = self.sockets.display(),
            plugins = self.plugins,
            networks = self.networks.display(),
            programs = self.programs.display(),
            sandbox = self.sandbox,
        )
    }
}
