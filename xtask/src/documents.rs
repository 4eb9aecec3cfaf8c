//! The documents say what is there.
//!
//! Guarantees: a relative link leads to a file; `make X` and `cargo xtask X` name a target and a command that exist;
//! every number of `core::ids` stands in `docs/configuration.md`, and no document names a rule priority of our range
//! that we do not use; the nft rules shown are those we load. Leaves out: web addresses and anchors.

mod rules;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sortie_core::ids;

use crate::command::Tool;
use crate::{COMMANDS, progress};

/// Where the rules are shown, and where they are recorded.
const SHOWN: &str = "docs/datapath.md";
const RECORDED: [&str; 2] = ["crates/core/testdata/small-node.nft", "crates/core/testdata/node-beside-others.nft"];
/// Where every number is listed.
const NUMBERS: &str = "docs/configuration.md";

/// `documents`.
pub(crate) fn run(root: &Path, _: &[String]) -> Result<()> {
    let targets = make_targets(&read(&root.join("Makefile"))?);
    let files = markdown(root)?;
    let mut found = Vec::new();
    for file in &files {
        let (name, text) = (file.display().to_string(), read(&root.join(file))?);
        let folder = root.join(file).parent().map(Path::to_path_buf).unwrap_or_default();
        found.extend(
            links(&text).filter(|link| !folder.join(link).exists()).map(|link| format!("{name}: no file {link}")),
        );
        found.extend(
            unknown_commands(&text, &targets).into_iter().map(|command| format!("{name}: no command {command}")),
        );
        found.extend(
            foreign_priorities(&text).into_iter().map(|number| format!("{name}: {number} is no priority of ours")),
        );
    }
    let listed = read(&root.join(NUMBERS))?;
    found.extend(
        claimed().into_iter().filter(|number| !mentions(&listed, number)).map(|n| format!("{NUMBERS}: lacks {n}")),
    );
    let recorded = RECORDED.iter().map(|file| read(&root.join(file))).collect::<Result<String>>()?;
    let shown = read(&root.join(SHOWN))?;
    found.extend(rules::unknown_rules(&shown, &recorded).iter().map(|rule| format!("{SHOWN}: no rule {rule}")));
    for line in &found {
        progress::line(&format!("  {line}"));
    }
    if !found.is_empty() {
        bail!("{} statements in the documents are not true", found.len());
    }
    progress::line(&format!("  {} documents", files.len()));
    Ok(())
}

/// Everything Sortie claims on a node, as it is written in documents.
fn claimed() -> Vec<String> {
    let range = |(first, last): (u32, u32)| format!("{first}-{last}");
    let mask = |mask: u32| format!("{mask:#010x}");
    let numbers = [u32::from(ids::PROTOCOL), ids::PRIORITY_MAIN, ids::PRIORITY_POD_EXIT, ids::PRIORITY_POD_NONE];
    let more = [ids::PRIORITY_EXIT, ids::TABLE_NONE];
    let ranges = [ids::TABLE_RANGE, ids::TABLE_RESERVED, ids::PRIORITY_RANGE];
    let texts = [ids::SOCKET, ids::STATE_DIR, ids::DATA_DIR].map(str::to_owned);
    let mut all: Vec<String> = numbers.iter().chain(&more).map(u32::to_string).collect();
    all.extend(ranges.map(range));
    all.extend([ids::PACKET_MARK, ids::CT_MARK].map(mask));
    all.extend(texts);
    all.push(format!("inet {}", ids::NFT_TABLE));
    all
}

/// Numbers in the range of our rules that no rule of ours has.
fn foreign_priorities(text: &str) -> Vec<u32> {
    let (first, last) = ids::PRIORITY_RANGE;
    let per_pod = [ids::PRIORITY_MAIN, ids::PRIORITY_POD_EXIT, ids::PRIORITY_POD_NONE];
    let by_mark = [ids::PRIORITY_TUNNEL_EXIT, ids::PRIORITY_RETURN, ids::PRIORITY_EXIT];
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_');
    let numbers = words.filter_map(|word| word.trim_end_matches('.').parse::<u32>().ok());
    numbers.filter(|number| (first..=last).contains(number) && ![per_pod, by_mark].concat().contains(number)).collect()
}

/// Whether `text` holds `word` as a whole.
fn mentions(text: &str, word: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        edge(before.chars().next_back()) && edge(after.chars().next())
    })
}

/// Relative link targets, without anchors.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(|target| target.split('#').next().unwrap_or_default()).filter(|t| !t.is_empty() && !t.contains("://"))
}

/// `make` targets and `cargo xtask` commands in `text` that do not exist.
fn unknown_commands(text: &str, targets: &[String]) -> Vec<String> {
    let known = |name: &str| COMMANDS.iter().any(|command| command.name == name) || name == "help";
    let commands = quoted(text).filter_map(|code| code.strip_prefix("cargo xtask ")).filter_map(first_word);
    let makes = quoted(text).filter_map(|code| code.strip_prefix("make ")).filter_map(first_word);
    let no_command = commands.filter(|name| !known(name)).map(|name| format!("cargo xtask {name}"));
    let no_target =
        makes.filter(|name| !targets.iter().any(|target| target == name)).map(|name| format!("make {name}"));
    no_command.chain(no_target).collect()
}

/// Pieces of code: lines of fenced blocks and spans between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let fences = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let spans = text.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2));
    fences.chain(spans).map(|code| code.trim_start().trim_start_matches("$ ").trim_start_matches("# "))
}

fn first_word(text: &str) -> Option<&str> {
    text.split_whitespace().next()
}

fn make_targets(makefile: &str) -> Vec<String> {
    let rules = makefile.lines().filter(|line| !line.starts_with(['\t', '#', '.', ' ']));
    let heads = rules.filter_map(|line| line.split_once(':')).filter(|(_, rest)| !rest.starts_with('='));
    heads.flat_map(|(head, _)| head.split_whitespace()).map(str::to_owned).collect()
}

/// Markdown files under version control.
fn markdown(root: &Path) -> Result<Vec<PathBuf>> {
    let listed = Tool::new("git", root)
        .arguments(&["ls-files", "--cached", "--others", "--exclude-standard", "*.md"])
        .capture()?;
    Ok(listed.lines().map(PathBuf::from).filter(|file| root.join(file).is_file()).collect())
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}
