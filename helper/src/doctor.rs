//! `doctor`: looks at the node and writes what was found for people or for scripts.

mod facts;

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use sortie_core::doctor::{Finding, Report, Severity, judge};

use crate::cli::{DoctorOptions, Format};

/// What to print, and whether nothing prevents the work.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) ok: bool,
}

/// Looks and judges.
pub(crate) fn doctor(options: &DoctorOptions) -> anyhow::Result<Answer> {
    if !nix::unistd::geteuid().is_root() {
        bail!("only root sees what is to be looked at; run it as root, or by `kubectl sortie doctor`");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start runtime")?;
    let report = judge(&runtime.block_on(facts::read(options)));
    let text = match options.format {
        Format::Json => serde_json::to_string_pretty(&report)? + "\n",
        Format::Text => text(&report),
    };
    Ok(Answer { text, ok: report.ok })
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        let _ = writeln!(out, "{text}");
    };
    for Finding { check, severity, message, meaning, remedy } in &report.findings {
        let word = match severity {
            Severity::Error => "ERROR",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        line(format_args!("{word} {check}: {message}"));
        line(format_args!("  means: {meaning}"));
        line(format_args!("  do:    {remedy}"));
    }
    for (check, why) in &report.not_checked {
        line(format_args!("not checked {check}: {why}"));
    }
    line(format_args!("checked: {}", report.checked.join(" ")));
    line(format_args!("{}", if report.ok { "nothing prevents the work" } else { "something prevents the work" }));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_meaning_and_remedy_of_each_finding() {
        let finding = Finding {
            check: "kernel".into(),
            severity: Severity::Error,
            message: "too old".into(),
            meaning: "it cannot".into(),
            remedy: "use another".into(),
        };
        let not_checked = [("cni".to_owned(), "no directory".to_owned())].into();
        let text = text(&Report { ok: false, findings: vec![finding], checked: vec!["kernel".into()], not_checked });
        let expected = "ERROR kernel: too old\n  means: it cannot\n  do:    use another\nnot checked cni: no directory\n\
                        checked: kernel\nsomething prevents the work\n";
        assert_eq!(text, expected);
    }
}
