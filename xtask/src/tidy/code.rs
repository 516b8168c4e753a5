//! Rules for the text of one file: its head, its length, its white space.

use super::{Problem, Source};

/// Maximum number of lines: a longer file has two reasons to exist.
const TOO_LONG: usize = 800;

/// Checks that a Rust file begins with a `//!` line that says something.
pub(super) fn head(source: &Source) -> Vec<Problem> {
    let first = source.text.lines().next().unwrap_or_default();
    match first.strip_prefix("//!").map(str::trim) {
        Some(text) if !text.is_empty() => Vec::new(),
        Some(_) | None => vec![Problem::at(
            source,
            1,
            "has no `//!` head; say what the file is for, who calls it, its invariants",
        )],
    }
}

/// Checks that a file has no more than [`TOO_LONG`] lines.
pub(super) fn length(source: &Source) -> Option<Problem> {
    let lines = source.text.lines().count();
    let what = || {
        format!("has {lines} lines, more than {TOO_LONG}; find the second reason and move it out")
    };
    (lines > TOO_LONG).then(|| Problem::of(&source.path, what()))
}

/// Checks that no line ends in blanks. In Markdown two of them make a line break; that is banned,
/// too.
pub(super) fn whitespace(source: &Source) -> Vec<Problem> {
    let ends_blank = |line: &str| line.ends_with([' ', '\t', '\r']);
    let lines = source.text.split('\n').enumerate().filter(|(_, line)| ends_blank(line));
    lines.map(|(n, _)| Problem::at(source, n + 1, "ends in blanks")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: impl Into<String>) -> Source {
        Source { path: "a.rs".to_owned(), text: text.into() }
    }

    #[test]
    fn heads() {
        let check =
            |text: &str, problems| assert_eq!(head(&source(text)).len(), problems, "{text}");
        check("//! What it is for.\nfn a() {}\n", 0);
        check("//!\nfn a() {}\n", 1);
        check("// no head\n", 1);
        check("\n//! late\n", 1);
        check("", 1);
    }

    #[test]
    fn lengths() {
        assert_eq!(length(&source("x\n".repeat(800))), None);
        assert!(length(&source("x\n".repeat(801))).is_some());
    }

    #[test]
    fn blanks() {
        let check = |text: &str, lines: &[&str]| {
            let found: Vec<_> =
                whitespace(&source(text)).into_iter().map(|one| one.place).collect();
            assert_eq!(found, lines, "{text:?}");
        };
        check("a\n\nb\n", &[]);
        check("a \nb\nc\t", &["a.rs:1", "a.rs:3"]);
        check("a\r\n", &["a.rs:1"]);
    }
}
