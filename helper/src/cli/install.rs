//! Command line of `install`.

use std::path::PathBuf;

use lexopt::prelude::*;
use log::LevelFilter;
use serde_json::{Map, Value};
use sortie_core::cni::install::Entry;

use super::{Command, UsageError, level, value};

/// Text of `install --help`.
pub(crate) const HELP: &str = "\
sortie-helper install: puts the plugin on a node and its entry into the configuration of the node's CNI

usage: sortie-helper install [--watch | --check] [flags]

  --watch              stay, wait for a CNI that is not there yet, repair what others undo; ends at SIGTERM
  --check              change nothing; succeed if plugin and entry are in place
  --cni-conf-dir DIR   where the runtime looks for the configuration   [/etc/cni/net.d]
  --cni-bin-dir DIR    where the runtime looks for plugins   [/opt/cni/bin]
  --plugin PATH        the plugin to install   [sortie, beside this program]
  --net-conf JSON      settings of the plugin, as an object with keys of the net conf   [{}]
  --net-conf-env NAME  the same, from a variable of the environment
  --log-level LEVEL    error | warn | info | debug   [info]
  --log-file PATH      instead of standard error

exit status: 0 plugin and entry are in place, 1 failed, 2 wrong usage,
             3 the CNI of this node has written no configuration yet
";

/// Directories of kubeadm, and of Debian's and Fedora's packages.
pub(super) const DIRECTORIES: [&str; 2] = ["/etc/cni/net.d", "/opt/cni/bin"];

/// How long `install` works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    #[default]
    Once,
    Watch,
    Check,
}

/// Options of `install`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InstallOptions {
    pub(crate) mode: Mode,
    pub(crate) conf_dir: PathBuf,
    pub(crate) bin_dir: PathBuf,
    pub(crate) plugin: Option<PathBuf>,
    pub(crate) entry: Entry,
    pub(crate) log_level: LevelFilter,
    pub(crate) log_file: Option<PathBuf>,
}

pub(super) fn parse(parser: &mut lexopt::Parser) -> Result<Command, UsageError> {
    let [conf_dir, bin_dir] = DIRECTORIES.map(PathBuf::from);
    let entry = net_conf("{}")?;
    let (mode, log_level) = (Mode::Once, LevelFilter::Info);
    let mut options = InstallOptions { mode, conf_dir, bin_dir, plugin: None, entry, log_level, log_file: None };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::InstallHelp),
            Long("watch") => options.mode = mode_of(options.mode, Mode::Watch)?,
            Long("check") => options.mode = mode_of(options.mode, Mode::Check)?,
            Long("cni-conf-dir") => options.conf_dir = parser.value()?.into(),
            Long("cni-bin-dir") => options.bin_dir = parser.value()?.into(),
            Long("plugin") => options.plugin = Some(parser.value()?.into()),
            Long("net-conf") => options.entry = net_conf(&parser.value()?.string()?)?,
            Long("net-conf-env") => options.entry = net_conf(&variable(&parser.value()?.string()?)?)?,
            Long("log-level") => options.log_level = level(&parser.value()?.string()?)?,
            Long("log-file") => options.log_file = Some(parser.value()?.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Install(options))
}

fn mode_of(before: Mode, wanted: Mode) -> Result<Mode, UsageError> {
    match before {
        Mode::Once => Ok(wanted),
        _ => Err(value("--watch", "was given with --check, or twice".to_owned(), "give one of them, once")),
    }
}

/// Kubernetes puts no variables into the words of a probe.
fn variable(name: &str) -> Result<String, UsageError> {
    std::env::var(name).map_err(|error| value("--net-conf-env", format!("{name}: {error}"), "set the variable"))
}

fn net_conf(text: &str) -> Result<Entry, UsageError> {
    let remedy = "give keys of the net conf as docs/configuration.md lists them";
    let settings: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        value("--net-conf", format!("is no JSON object: {error}"), "write it as {\"logLevel\":\"warn\"}")
    })?;
    Entry::new(settings)
        .map_err(|refused| value("--net-conf", format!("{} {}", refused.field, refused.message), remedy))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, UsageError> {
        super::super::parse(["install"].iter().chain(arguments).map(OsString::from))
    }

    #[test]
    fn the_directories_are_those_of_kubeadm_unless_given() {
        let Ok(Command::Install(options)) = parsed(&["--watch", "--cni-bin-dir", "/b"]) else { panic!() };
        assert_eq!(
            (options.mode, options.conf_dir, options.bin_dir),
            (Mode::Watch, "/etc/cni/net.d".into(), "/b".into())
        );
        assert_eq!(parsed(&["--check", "--help"]).unwrap(), Command::InstallHelp);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_flag() {
        for (arguments, flag) in [
            (&["--watch", "--check"][..], "--watch"),
            (&["--net-conf", "[]"], "--net-conf"),
            (&["--net-conf", r#"{"whenHelperDown":"x"}"#], "whenHelperDown"),
            (&["--net-conf", r#"{"colour":"x"}"#], "colour"),
            (&["--net-conf-env", "SORTIE_NO_SUCH_VARIABLE"], "--net-conf-env"),
            (&["--state-dir", "/s"], "--state-dir"),
        ] {
            assert!(parsed(arguments).unwrap_err().to_string().contains(flag), "{arguments:?}");
        }
    }
}
