//! The documents of a file as text.
//!
//! Guarantees: a document's text starts on a known line, so that one broken document spoils no other.
//! Leaves out: `%TAG` directives, which no manifest needs.

/// Text of one document.
pub(super) struct Chunk<'a> {
    /// Text, its marker cut off.
    pub(super) text: &'a str,
    /// Line of the first byte of the text, from 1.
    pub(super) first: usize,
    /// Line of the first content, from 1.
    pub(super) start: usize,
}

/// The documents that hold anything but comments and directives.
pub(super) fn chunks(text: &str) -> impl Iterator<Item = Chunk<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    let (mut from, mut first, mut at) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if is_marker(line) {
            found.push((&text[from..at], first));
            (from, first) = (at + MARKER.len(), index + 1);
        }
        at += line.len();
    }
    found.push((&text[from..], first));
    found.into_iter().filter_map(|(text, first)| chunk(text, first))
}

const MARKER: &str = "---";

fn is_marker(line: &str) -> bool {
    line.strip_prefix(MARKER).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn chunk(text: &str, first: usize) -> Option<Chunk<'_>> {
    let is_content =
        |line: &str| !(line.trim().is_empty() || line.trim_start().starts_with('#') || line.trim_end() == "...");
    let offset = text.lines().position(|line| is_content(line) && !line.starts_with('%'))?;
    let directives = text.split_inclusive('\n').take_while(|line| !is_content(line) || line.starts_with('%'));
    let has_directive = directives.clone().any(|line| line.starts_with('%'));
    let skipped = if has_directive { directives.map(str::len).sum() } else { 0 };
    let cut = if has_directive { offset } else { 0 };
    Some(Chunk { text: &text[skipped..], first: first + cut, start: first + offset })
}
