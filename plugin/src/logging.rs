//! The log file: one line for each command.
//!
//! Guarantees: no configuration, no log; a file that cannot be opened or written is no error. Leaves out:
//! rotation, and standard error, which some runtimes mix into the answer.

use std::fs::{File, OpenOptions};
use std::io::{self, LineWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Instant;

use log::LevelFilter;
use simplelog::{ConfigBuilder, WriteLogger};
use sortie_core::cni::{LogLevel, NetConf, Target};

use crate::trouble::{Trouble, chain};

/// `O_NONBLOCK` of `asm-generic/fcntl.h`, the value on every architecture we build for.
const O_NONBLOCK: i32 = 0o4000;

/// Starts logging if the configuration says where.
pub(crate) fn start(conf: &NetConf) {
    let Some(path) = &conf.log_file else { return };
    let Ok(file) = open(path) else { return };
    let config = ConfigBuilder::new().set_time_format_rfc3339().build();
    let _ = WriteLogger::init(level(conf.log_level), config, LineWriter::new(file));
}

/// A pipe that nobody reads would hold the command; it counts as a file that cannot be opened.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).custom_flags(O_NONBLOCK).open(path)
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::Off,
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Trace => LevelFilter::Trace,
    }
}

/// What the line says.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    command: &'static str,
    container: &'a str,
    interface: &'a str,
    selected: &'static str,
}

impl<'a> Record<'a> {
    /// A command about these names; `-` where it has none.
    pub(crate) fn of(command: &'static str, container: &'a str, interface: &'a str) -> Self {
        Self { command, container, interface, selected: "-" }
    }

    /// A command about this attachment.
    pub(crate) fn about(command: &'static str, target: &'a Target) -> Self {
        Self::of(command, &target.container_id, &target.interface)
    }

    /// Whether the pod is selected; `None` = the helper was not heard.
    pub(crate) fn selected(self, selected: Option<bool>) -> Self {
        let selected = match selected {
            Some(true) => "true",
            Some(false) => "false",
            None => "unknown",
        };
        Self { selected, ..self }
    }

    /// Writes the line.
    pub(crate) fn write(&self, started: Instant, trouble: Option<&Trouble>) {
        let Self { command, container, interface, selected } = self;
        let duration = started.elapsed().as_micros();
        let error = trouble.map_or_else(String::new, |t| format!(" error={:?}", chain(t)));
        log::info!(
            "command={command} container={container} interface={interface} selected={selected} duration_us={duration}{error}"
        );
    }
}
