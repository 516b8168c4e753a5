//! Compares the lines of two contents: how many were added and removed, and which.
//!
//! Lines are compared as multisets, in time linear in the content, because an agent writes the
//! content and must not be able to make a comparison slow. A line that only moved inside its file
//! counts as neither added nor removed.

use std::collections::HashMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::{Blob, Blobs, Change};

/// The size of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// How many paths differ.
    pub files: u64,
    /// How many lines were added.
    pub added: u64,
    /// How many lines were removed.
    pub removed: u64,
    /// How many bytes were added: those of the added lines with their line ends, or the whole size
    /// of content that is not text.
    #[serde(default)]
    pub bytes: u64,
}

impl Tally {
    /// Returns the number of lines added and removed together.
    pub fn lines(&self) -> u64 {
        self.added.saturating_add(self.removed)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.files = self.files.saturating_add(other.files);
        self.added = self.added.saturating_add(other.added);
        self.removed = self.removed.saturating_add(other.removed);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// How many bytes of a line, or of content without lines, count as one line.
const LINE: u64 = 1024;

/// Returns the size of one change. A line counts once for each KiB of it, and so does content that
/// is not text or was not read: a megabyte is no easier to review for having no line ends.
pub fn tally(change: &Change, blobs: &Blobs) -> Tally {
    let side = |entry: &Option<super::Entry>| entry.as_ref().and_then(|e| blobs.get(e));
    let (old, new) = (side(&change.old), side(&change.new));
    let (removed, added) = match (text(old), text(new)) {
        (Some(old), Some(new)) => (weight(&missing(old, new)), weight(&missing(new, old))),
        _ if change.old.as_ref().map(|e| &e.oid) == change.new.as_ref().map(|e| &e.oid) => {
            ((0, 0), (0, 0))
        }
        _ => (whole(old), whole(new)),
    };
    Tally { files: 1, added: added.0, removed: removed.0, bytes: added.1 }
}

/// Returns as how many lines these count, and their bytes including line ends.
fn weight(lines: &[&[u8]]) -> (u64, u64) {
    let weights = lines.iter().map(|line| (line.len() as u64).div_ceil(LINE).max(1));
    let bytes: u64 = lines.iter().map(|line| line.len() as u64 + 1).sum();
    (weights.sum(), bytes)
}

/// Splits a content into lines, without line ends; a last line without one counts too.
pub fn lines(content: &[u8]) -> Vec<&[u8]> {
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    if content.is_empty() { Vec::new() } else { content.split(|b| *b == b'\n').collect() }
}

/// Returns the lines that `old` has more often than `new`, in order.
pub fn removed_lines<'a>(old: &'a [u8], new: &[u8]) -> Vec<&'a [u8]> {
    missing(old, new)
}

/// Returns how many lines two contents have in common.
pub fn common_lines(one: &[u8], other: &[u8]) -> usize {
    lines(one).len() - missing(one, other).len()
}

/// Returns the lines that `new` adds to `old`, in order, if `new` contains all of `old`'s lines in
/// the same order; otherwise `None`.
pub fn added_lines<'a>(old: &[u8], new: &'a [u8]) -> Option<Vec<&'a [u8]>> {
    let mut old = lines(old).into_iter().peekable();
    let mut added = Vec::new();
    for line in lines(new) {
        if old.next_if_eq(&line).is_none() {
            added.push(line);
        }
    }
    old.peek().is_none().then_some(added)
}

/// Whether `whole` contains all of `part` in the same order.
pub fn is_subsequence(part: &[&[u8]], whole: &[&[u8]]) -> bool {
    let mut part = part.iter().peekable();
    for line in whole {
        let _ = part.next_if(|wanted| *wanted == line);
    }
    part.peek().is_none()
}

/// Returns the lines that `of` has more often than `from`, in order.
fn missing<'a>(of: &'a [u8], from: &[u8]) -> Vec<&'a [u8]> {
    let mut have: HashMap<&[u8], u64> = HashMap::new();
    for line in lines(from) {
        *have.entry(line).or_default() += 1;
    }
    let mut gone = lines(of);
    gone.retain(|line| match have.get_mut(*line) {
        Some(0) | None => true,
        Some(count) => {
            *count -= 1;
            false
        }
    });
    gone
}

/// Returns the content if it is text. A missing blob is an empty text.
fn text(blob: Option<&Blob>) -> Option<&[u8]> {
    match blob {
        None => Some(b""),
        Some(Blob::Oversize(_)) => None,
        // Git's own rule: a NUL among the first bytes.
        Some(Blob::Content(bytes)) if bytes.iter().take(8000).any(|b| *b == 0) => None,
        Some(Blob::Content(bytes)) => Some(bytes),
    }
}

fn whole(blob: Option<&Blob>) -> (u64, u64) {
    match (blob, text(blob)) {
        (_, Some(text)) => weight(&lines(text)),
        (Some(blob), None) => (blob.size().div_ceil(LINE), blob.size()),
        (None, None) => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::super::testing::{Side, diff, file};
    use super::*;

    #[test]
    fn counts_lines_that_came_and_went() {
        let check = |old: Side<'_>, new: Side<'_>, expected: (u64, u64)| {
            let (diff, blobs) = diff(&[("a", old, new)]);
            let tally = tally(&diff.changes[0], &blobs);
            assert_eq!((tally.added, tally.removed), expected, "{old:?} {new:?}");
        };
        check(None, file("a\nb\n"), (2, 0));
        check(file("a\nb"), None, (0, 2));
        check(file("a\nb\nb\n"), file("a\nb\nc\nd\n"), (2, 1));
        check(file("a\nb\n"), file("b\na\n"), (0, 0));
        check(file("a"), file("a\n"), (0, 0));
        check(None, file("\n\n"), (2, 0));
        check(None, Some((Mode::Regular, &[0; 3000])), (3, 0));
        check(Some((Mode::Regular, &[0; 3000])), Some((Mode::Executable, &[0; 3000])), (0, 0));
        check(Some((Mode::Regular, &[0; 3000])), file("a\n"), (1, 3));
        check(None, Some((Mode::Submodule, b"x")), (0, 0));
        let long = "x".repeat(1024);
        check(None, file(&long), (1, 0));
        check(file("a\n"), file(&format!("a\n{long}x\nb\n")), (3, 0));
        check(file(&long.repeat(5)), file("x"), (1, 5));
    }

    #[test]
    fn counts_the_bytes_that_came() {
        let check = |old: Side<'_>, new: Side<'_>, expected: u64| {
            let (diff, blobs) = diff(&[("a", old, new)]);
            assert_eq!(tally(&diff.changes[0], &blobs).bytes, expected, "{old:?} {new:?}");
        };
        check(None, file("a\nbc\n"), 5);
        check(file("a\nb\n"), file("a\nccc\n"), 4);
        check(file("a\nb\n"), None, 0);
        check(None, Some((Mode::Regular, &[0; 3000])), 3000);
        check(Some((Mode::Regular, &[0; 9])), Some((Mode::Executable, &[0; 9])), 0);
    }

    #[test]
    fn added_lines_only_where_none_was_deleted() {
        let check = |old: &str, new: &'static str, expected: Option<&[&str]>| {
            let seen = added_lines(old.as_bytes(), new.as_bytes());
            let expected: Option<Vec<&[u8]>> =
                expected.map(|lines| lines.iter().map(|l| l.as_bytes()).collect());
            assert_eq!(seen, expected, "{old:?} {new:?}");
        };
        check("", "a\nb\n", Some(&["a", "b"]));
        check("a\nb\n", "a\nx\nb\n", Some(&["x"]));
        check("a\nb\n", "a\n", None);
        check("a\nb\n", "b\na\n", None);
        check("a\na\n", "a\n", None);
        check("a", "a\nb", Some(&["b"]));
    }

    #[test]
    fn subsequences_keep_order_and_count() {
        let check = |part: &str, whole: &str| {
            is_subsequence(&lines(part.as_bytes()), &lines(whole.as_bytes()))
        };
        assert!(check("a\nc", "a\nb\nc"));
        assert!(check("", "a"));
        assert!(!check("c\na", "a\nb\nc"));
        assert!(!check("a\na", "a\nb"));
    }

    #[test]
    fn sizes_add_up_and_lines_in_common_are_counted_once() {
        let mut sum = Tally { files: 1, added: 2, removed: 3, bytes: 4 };
        sum += Tally { files: 10, added: 20, removed: 30, bytes: 40 };
        assert_eq!(sum, Tally { files: 11, added: 22, removed: 33, bytes: 44 });
        assert_eq!(sum.lines(), 55);
        assert_eq!(common_lines(b"a\nb\nb\nc\n", b"b\nc\nd\n"), 2);
    }

    #[test]
    fn content_is_text_without_a_nul_among_its_first_bytes() {
        let with_nul_at = |at: usize| {
            let mut content = vec![b'\n'; 8_000];
            content.insert(at, 0);
            content
        };
        for (at, added) in [(7_999, 8), (8_000, 8_001)] {
            let content = with_nul_at(at);
            let (diff, blobs) = diff(&[("a", None, Some((Mode::Regular, content.as_slice())))]);
            assert_eq!(tally(&diff.changes[0], &blobs).added, added, "{at}");
        }
    }
}
