//! A directory of CNI configuration, a directory of plugins, and the program that works on them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use sortie_testkit::{command, programs, scratch::Scratch};

/// Configuration of another CNI.
pub(crate) const FLANNEL: &str = r#"{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
"#;

pub(crate) struct Dirs {
    scratch: Scratch,
    pub(crate) conf: PathBuf,
    pub(crate) bin: PathBuf,
}

impl Dirs {
    pub(crate) fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let (conf, bin) = (scratch.folder("net.d")?, scratch.folder("bin")?);
        Ok(Self { scratch, conf, bin })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn install(&self, flags: &[&str]) -> Result<Command> {
        let mut command = Command::new(programs::ours("sortie-helper")?);
        command.args(["install", "--cni-conf-dir"]).arg(&self.conf).arg("--cni-bin-dir").arg(&self.bin).args(flags);
        Ok(command)
    }

    pub(crate) fn uninstall(&self) -> Result<String> {
        // In a network of its own: that of the machine is not ours to clean.
        let mut command = Command::new("unshare");
        command.arg("--net").arg(programs::ours("sortie-helper")?);
        command.arg("uninstall").arg("--state-dir").arg(self.path("state")).arg("--socket").arg(self.path("s/socket"));
        command.arg("--cni-conf-dir").arg(&self.conf).arg("--cni-bin-dir").arg(&self.bin);
        command::text(&mut command, "")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        std::fs::write(self.conf.join(name), text).with_context(|| format!("cannot write {name}"))
    }

    pub(crate) fn read(&self, name: &str) -> Result<String> {
        std::fs::read_to_string(self.conf.join(name)).with_context(|| format!("cannot read {name}"))
    }

    /// Types of the plugins in a list; empty while it is half written or not there.
    pub(crate) fn types(&self, name: &str) -> Vec<String> {
        let list: Value = self.read(name).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let plugins = list["plugins"].as_array().cloned().unwrap_or_default();
        plugins.iter().filter_map(|plugin| plugin["type"].as_str().map(str::to_owned)).collect()
    }

    /// Names of everything in a directory.
    pub(crate) fn names(&self, dir: &str) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(self.path(dir)).with_context(|| format!("cannot list {dir}"))?;
        let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }
}

/// Status and error text.
pub(crate) fn outcome(command: &mut Command) -> Result<(Option<i32>, String)> {
    let output = command::output(command, "")?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}
