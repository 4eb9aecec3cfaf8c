//! Log output: UTC, one write per record.

use std::fs::OpenOptions;
use std::io::LineWriter;
use std::path::Path;

use anyhow::Context as _;
use log::LevelFilter;
use simplelog::{ConfigBuilder, WriteLogger};

/// Starts logging to the file, or to standard error.
pub(crate) fn start(level: LevelFilter, file: Option<&Path>) -> anyhow::Result<()> {
    let config = ConfigBuilder::new().set_time_format_rfc3339().set_thread_level(LevelFilter::Off).build();
    match file {
        None => WriteLogger::init(level, config, LineWriter::new(std::io::stderr()))?,
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.with_context(|| format!("--log-file {}", path.display()))?;
            WriteLogger::init(level, config, LineWriter::new(file))?;
        }
    }
    Ok(())
}
