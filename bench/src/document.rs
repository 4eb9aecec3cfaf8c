//! `docs/performance.md` and its plots.
//!
//! Guarantees: only what stands between a section's own marks is replaced, and only the section's own plots.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use sortie_testkit::programs;

use crate::plot::Plot;
use crate::say;

/// Puts a section into the document, with its plots after its tables.
///
/// # Errors
/// When a file cannot be read or written, or the document lacks the section's marks.
pub(crate) fn publish(section: &str, text: &str, plots: &[Plot]) -> Result<()> {
    let folder = programs::workspace().join("docs");
    let plotted = folder.join("performance");
    std::fs::create_dir_all(&plotted).with_context(|| format!("cannot make {}", plotted.display()))?;
    let mut text = text.to_owned();
    for plot in plots {
        let file = format!("{section}-{}.svg", plot.name);
        plot.draw(&plotted.join(&file))?;
        let _ = write!(text, "\n![{}](performance/{file})\n", plot.title);
    }
    let file = folder.join("performance.md");
    replace(&file, section, &text)?;
    say(&format!("written to {}", file.display()));
    Ok(())
}

/// Puts text between the lines `<!-- NAME begin -->` and `<!-- NAME end -->`.
fn replace(file: &Path, name: &str, text: &str) -> Result<()> {
    let (begin, end) = (format!("<!-- {name} begin -->\n"), format!("<!-- {name} end -->"));
    let old = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (before, rest) = old.split_once(&begin).with_context(|| format!("the document lacks {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("the document lacks {end}"))?;
    std::fs::write(file, format!("{before}{begin}{text}{end}{after}"))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Kernel, processor and number of processors.
#[must_use]
pub(crate) fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, name)| name);
    format!("Linux {}, {processors} of {model}", read("/proc/sys/kernel/osrelease").trim())
}
