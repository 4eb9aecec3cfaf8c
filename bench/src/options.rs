//! What was asked for on the command line.

use anyhow::{Context, Result, bail};

/// Sections by name, how often, and whether the document is to be changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Empty for all.
    pub(crate) sections: Vec<String>,
    /// `--rounds N`.
    pub(crate) rounds: Option<usize>,
    /// `--write`.
    pub(crate) is_written: bool,
}

impl Options {
    /// # Errors
    /// For an unknown flag or a number that is none.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--write" => options.is_written = true,
                "--rounds" => {
                    let text = arguments.next().context("--rounds needs a number")?;
                    options.rounds = Some(text.parse().with_context(|| format!("--rounds: {text:?} is no number"))?);
                }
                flag if flag.starts_with('-') => bail!("unknown flag {flag}; there are --rounds N and --write"),
                _ => options.sections.push(argument),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Options> {
        Options::parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_section_and_its_rounds_are_read() {
        let options = parsed("takeover --rounds 3 --write").unwrap();
        assert_eq!(options, Options { sections: vec!["takeover".to_owned()], rounds: Some(3), is_written: true });
    }

    #[test]
    fn an_unknown_flag_and_a_number_that_is_none_are_refused() {
        assert!(parsed("--runs 3").is_err() && parsed("--rounds many").is_err() && parsed("--rounds").is_err());
    }
}
