//! Commands of a document, and what it says they print.
//!
//! A line `<!-- run: NAME -->` stands before a fence `sh` whose commands a test runs; `<!-- run: NAME, on each node -->`
//! when they belong on each node. A fence `text` that follows is what the last command prints, where `…` stands for what
//! is different each time. Guarantees: a mark without commands is an error. Leaves out: running them.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Where a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where `kubectl` is.
    Desk,
    /// On every node.
    EachNode,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// One line, or several with a backslash or a here-document.
    pub line: String,
    /// Where.
    pub place: Place,
    /// What it prints, if the document says so.
    pub prints: Option<String>,
}

/// The commands under `name` of a document, in its order.
///
/// # Errors
/// When it cannot be read or has none.
pub fn read(file: &Path, name: &str) -> Result<Vec<Command>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text, name).with_context(|| file.display().to_string())
}

/// Whether a command printed what the document says: line by line and word by word.
#[must_use]
pub fn fits(said: &str, printed: &str) -> bool {
    let lines = |text: &str| text.lines().map(words).filter(|line| !line.is_empty()).collect::<Vec<_>>();
    let (said, printed) = (lines(said), lines(printed));
    said.len() == printed.len() && said.iter().zip(&printed).all(|(said, printed)| line_fits(said, printed))
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn line_fits(said: &[String], printed: &[String]) -> bool {
    said.len() == printed.len() && said.iter().zip(printed).all(|(said, printed)| said == "…" || said == printed)
}

fn parse(text: &str, name: &str) -> Result<Vec<Command>> {
    let marks = [
        (Place::Desk, format!("<!-- run: {name} -->")),
        (Place::EachNode, format!("<!-- run: {name}, on each node -->")),
    ];
    let (mut commands, mut lines) = (Vec::new(), text.lines());
    while let Some(line) = lines.next() {
        let Some((place, mark)) = marks.iter().find(|(_, mark)| line.trim() == mark) else { continue };
        ensure!(lines.next().map(str::trim) == Some("```sh"), "no commands after {mark}");
        let fence: Vec<&str> = lines.by_ref().map_while(|line| (line.trim() != "```").then_some(line)).collect();
        let block = split(&fence)?;
        ensure!(!block.is_empty(), "no commands after {mark}");
        commands.extend(block.into_iter().map(|line| Command { line, place: *place, prints: None }));
        let mut ahead = lines.clone().skip_while(|line| line.trim().is_empty());
        if ahead.next().map(str::trim) == Some("```text") {
            let said: Vec<&str> = ahead.map_while(|line| (line.trim() != "```").then_some(line)).collect();
            commands.iter_mut().last().into_iter().for_each(|last| last.prints = Some(said.join("\n")));
        }
    }
    ensure!(!commands.is_empty(), "no commands are marked {:?}", marks[0].1);
    Ok(commands)
}

/// Lines that belong together; without empty ones and remarks.
fn split(fence: &[&str]) -> Result<Vec<String>> {
    let (mut commands, mut rest) = (Vec::new(), fence.iter());
    while let Some(line) = rest.next() {
        if line.trim().is_empty() || line.trim().starts_with('#') {
            continue;
        }
        let mut command = (*line).to_owned();
        let end = line.split_once("<<'").and_then(|(_, word)| word.split('\'').next());
        while end.is_some_and(|end| command.lines().last() != Some(end))
            || command.ends_with('\\')
            || command.ends_with("&&")
        {
            let Some(next) = rest.next() else { bail!("unfinished: {command}") };
            command = format!("{command}\n{next}");
        }
        commands.push(command);
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::{Place, fits, parse};

    const TEXT: &str = "<!-- run: start -->\n```sh\n# a remark\none\n\ntwo <<'EOF' | three\nfour\nEOF\nfive \\\n  six\n```\n\n\
        ```text\nNAME AGE\nx   …\n```\n```sh\nnot run\n```\n<!-- run: start, on each node -->\n```sh\nseven\n```\nmore\n";

    #[test]
    fn marked_commands_are_read_in_order_with_what_the_last_of_a_block_prints() {
        let commands = parse(TEXT, "start").unwrap();
        let lines: Vec<_> = commands.iter().map(|command| (command.line.as_str(), command.place)).collect();
        let here = "two <<'EOF' | three\nfour\nEOF";
        assert_eq!(
            lines,
            [("one", Place::Desk), (here, Place::Desk), ("five \\\n  six", Place::Desk), ("seven", Place::EachNode)]
        );
        assert_eq!(commands[2].prints.as_deref(), Some("NAME AGE\nx   …"));
        assert!(commands.iter().filter(|command| command.prints.is_some()).count() == 1);
    }

    #[test]
    fn a_mark_that_is_missing_or_has_no_commands_is_an_error() {
        assert!(parse(TEXT, "end").is_err());
        assert!(parse("<!-- run: start -->\ntext\n", "start").is_err());
        assert!(parse("<!-- run: start -->\n```sh\none <<'EOF'\n```\n", "start").is_err());
    }

    #[test]
    fn what_is_printed_is_compared_by_words_except_what_differs_each_time() {
        assert!(fits("NAME  AGE\n\nx …\n", "NAME AGE\nx 4s\n"));
        assert!(!fits("NAME AGE\nx …", "NAME AGE\ny 4s"));
        assert!(!fits("NAME AGE", "NAME AGE\nx 4s"));
        assert!(!fits("…", "two words"));
    }
}
