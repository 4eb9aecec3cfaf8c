//! Tables that a benchmark writes into a document.

use std::path::Path;

use anyhow::{Context, Result};

/// Puts a table between the lines `<!-- NAME begin -->` and `<!-- NAME end -->`.
///
/// # Errors
/// When the document cannot be read or written, or lacks the lines.
pub fn write(file: &Path, name: &str, table: &str) -> Result<()> {
    let (begin, end) = (format!("<!-- {name} begin -->\n"), format!("<!-- {name} end -->"));
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (before, rest) = text.split_once(&begin).with_context(|| format!("the document lacks {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("the document lacks {end}"))?;
    std::fs::write(file, format!("{before}{begin}{table}{end}{after}"))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Kernel, processor and number of processors.
#[must_use]
pub fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, name)| name);
    format!("Linux {}, {processors} of {model}", read("/proc/sys/kernel/osrelease").trim())
}
