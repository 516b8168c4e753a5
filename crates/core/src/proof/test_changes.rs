//! What a change does to the tests of a repo: which it adds, edits, empties, deletes, moves, and
//! which it marks to be skipped.
//!
//! A deleted file counts as moved if a new test file has at least three fifths of its lines; lines
//! that every test file has do not count. A file is emptied if nothing of what it demanded is left
//! in it, and it demands less. Skip marks are those of the common test runners, and of hooks that
//! choose which tests run: a mark where there was none means that fewer tests are run than before.
//! The same holds for a file that loses its executable bit. A `return` is such a mark where it ends
//! an old test early, but not in a new function. A file that a link replaces counts as deleted.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::OnceLock;

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use super::classes::PathClass;
use super::policy::ProofPolicy;
use super::split::without_grown_imports;
use super::trees::Written;
use crate::change::{Blobs, Change, Diff, Entry, Mode, common_lines, lines, removed_lines};

/// What a change does to one test file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestFate {
    /// The file is gone, or a link stands in its place.
    Deleted,
    /// Nothing of what it demanded is left.
    Emptied,
    /// The file has new marks to skip tests, or lost its executable bit.
    SkipMarked,
    /// The file is now at another path, unchanged or edited.
    Moved,
    /// The file is edited in another way.
    Edited,
    /// The file is new.
    Added,
}

impl TestFate {
    /// Returns the fate's word in the evidence.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Emptied => "emptied",
            Self::SkipMarked => "skip-marked",
            Self::Moved => "moved",
            Self::Edited => "edited",
            Self::Added => "added",
        }
    }

    /// Whether tests that existed before are no longer run.
    pub const fn removes(self) -> bool {
        match self {
            Self::Deleted | Self::Emptied | Self::SkipMarked => true,
            Self::Moved | Self::Edited | Self::Added => false,
        }
    }
}

/// One test file that a change touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TestChange<'a> {
    pub(super) change: &'a Change,
    pub(super) fate: TestFate,
    /// The change at its new path, if it was moved.
    pub(super) moved_to: Option<&'a Change>,
    /// Whether it lost lines, moved or not.
    pub(super) loses: bool,
}

impl TestChange<'_> {
    /// Returns the old entry, the change at its present path, and its present entry, if it still
    /// exists.
    pub(super) fn sides(&self) -> Option<(&Entry, &Change, &Entry)> {
        let now = self.moved_to.unwrap_or(self.change);
        Some((self.change.old.as_ref()?, now, now.new.as_ref()?))
    }
}

/// Returns every test file that `diff` touches, in path order.
pub(super) fn test_changes<'a>(
    policy: &'a ProofPolicy,
    diff: &'a Diff,
    blobs: &Blobs,
) -> Vec<TestChange<'a>> {
    let tests: Vec<&Change> = policy.of_class(diff, PathClass::Test).collect();
    let mut free: Vec<&Change> =
        tests.iter().copied().filter(|c| c.old.is_none() && c.new.is_some()).collect();
    let fates = tests.into_iter().map(|change| {
        let (fate, moved_to) = match (&change.old, &change.new) {
            (None, _) => (added(change, blobs), None),
            (Some(old), Some(new)) => (edited(old, new, blobs), None),
            (Some(old), None) => match moved_to(old, &mut free, blobs) {
                Some(to) => (TestFate::Moved, Some(to)),
                None => (TestFate::Deleted, None),
            },
        };
        let new = moved_to.unwrap_or(change).new.as_ref();
        let loses = change.old.as_ref().is_some_and(|old| loses(old, new, blobs));
        TestChange { change, fate, moved_to, loses }
    });
    fates.collect()
}

/// Returns the code files in which `diff` marks tests to be skipped, without these marks: tests
/// among the code cannot be restored by path, but such a mark can be removed.
pub(super) fn unmarked(policy: &ProofPolicy, diff: &Diff, blobs: &Blobs) -> Vec<Written> {
    let one = |change: &Change| {
        let new = change.new.as_ref()?;
        let mode @ (Mode::Regular | Mode::Executable) = new.mode else { return None };
        let old = change.old.as_ref().and_then(|old| blobs.content(old)).unwrap_or_default();
        let new = blobs.content(new)?;
        let marks = more_marks(old, new, is_mark_among_code);
        if marks.is_empty() {
            return None;
        }
        let mut text = Vec::with_capacity(new.len());
        for (at, line) in lines(new).into_iter().enumerate() {
            let mark = marks.contains(&at).then(|| mark_among_code(line)).flatten();
            let mark = mark.unwrap_or_default();
            let part = |range| line.get(range).unwrap_or_default();
            let rest = [part(0..mark.start), part(mark.end..line.len())].concat();
            if mark.is_empty() || !rest.trim_ascii().is_empty() {
                text.extend(rest);
                text.push(b'\n');
            }
        }
        Some((change.path.clone(), mode, text))
    };
    policy.of_class(diff, PathClass::Code).filter_map(one).collect()
}

/// Returns the fate of a new test file: it may choose which tests run, and so skip others.
fn added(change: &Change, blobs: &Blobs) -> TestFate {
    let content = change.new.as_ref().and_then(|entry| blobs.content(entry));
    let chooses = content.is_some_and(|content| lines(content).into_iter().any(chooses_tests));
    if chooses { TestFate::SkipMarked } else { TestFate::Added }
}

fn edited(old: &Entry, new: &Entry, blobs: &Blobs) -> TestFate {
    match (old.mode, new.mode) {
        (_, Mode::Symlink | Mode::Submodule) => return TestFate::Deleted,
        // A runner may start only executable files.
        (Mode::Executable, Mode::Regular) => return TestFate::SkipMarked,
        (_, Mode::Regular | Mode::Executable) => {}
    }
    let (Some(old), Some(new)) = (blobs.content(old), blobs.content(new)) else {
        return TestFate::Edited;
    };
    let skips = |at| !returns_from_new_function(old, new, at);
    if is_emptied(old, new) {
        TestFate::Emptied
    } else if more_marks(old, new, is_skip_mark).into_iter().any(skips) {
        TestFate::SkipMarked
    } else {
        TestFate::Edited
    }
}

/// Whether lines of `old` are gone. A comma at the end of a line, and more names in an import, do
/// not count.
fn loses(old: &Entry, new: Option<&Entry>, blobs: &Blobs) -> bool {
    let Some(new) = new else { return true };
    let (Some(old), Some(new)) = (blobs.content(old), blobs.content(new)) else {
        return old.oid != new.oid;
    };
    let ends = |content: &[u8]| {
        let cut = |line: &[u8]| {
            line.trim_ascii_end().strip_suffix(b",").unwrap_or(line).trim_ascii_end().to_vec()
        };
        lines(content).into_iter().map(cut).collect::<Vec<_>>().join(&b'\n')
    };
    let gone = |line: &[u8]| !line.trim_ascii().is_empty();
    removed_lines(&ends(&without_grown_imports(old, new)), &ends(new)).into_iter().any(gone)
}

/// Takes from `free` the new file that `old` was moved to: one with the same content, or the one
/// with the most lines in common, which must be three fifths of those of `old`.
fn moved_to<'a>(old: &Entry, free: &mut Vec<&'a Change>, blobs: &Blobs) -> Option<&'a Change> {
    let new = |change: &&Change| change.new.clone();
    let same = free.iter().position(|c| new(c).is_some_and(|entry| entry.oid == old.oid));
    let alike = || {
        let old = telling(blobs.content(old)?);
        let shared = |change: &&Change| {
            let new = telling(blobs.content(change.new.as_ref()?)?);
            let common = common_lines(&old, &new);
            (common > 0 && common * 5 >= lines(&old).len() * 3).then_some(common)
        };
        let best = free.iter().enumerate().filter_map(|(n, c)| Some((shared(c)?, n)));
        best.max_by_key(|(common, n)| (*common, std::cmp::Reverse(*n))).map(|(_, n)| n)
    };
    let at = same.or_else(alike)?;
    Some(free.remove(at))
}

/// Whether a line is an import or belongs to the frame around tests, as every test file has them.
fn is_frame(line: &[u8]) -> bool {
    const FRAMES: &[&[u8]] = &[
        b"import ",
        b"from ",
        b"use ",
        b"#include",
        b"package ",
        b"require",
        b"const ",
        b"class ",
        b"@",
        b"#[",
        b"if __name__",
        b"unittest.main",
        b"mod ",
        b"func main",
        b"int main",
        b"fn main",
        b"def setUp",
        b"describe(",
        b"set -",
        b"#!",
        b". ",
    ];
    FRAMES.iter().any(|frame| line.starts_with(frame))
}

/// Returns the lines of a test file that distinguish it from others: without blank lines, brackets
/// and the frame around tests.
fn telling(content: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    for line in lines(content) {
        let text = line.trim_ascii();
        let bare = text.iter().filter(|byte| byte.is_ascii_alphanumeric()).count() < 2;
        if !is_frame(text) && !bare {
            kept.extend_from_slice(text);
            kept.push(b'\n');
        }
    }
    kept
}

/// Whether a content is only blank lines and comments.
fn says_nothing(content: &[u8]) -> bool {
    lines(content).into_iter().map(<[u8]>::trim_ascii).all(|l| l.is_empty() || is_comment(l))
}

/// Whether nothing of what `old` demanded is left in `new`, and `new` demands less. A line is left
/// if half of its words are.
fn is_emptied(old: &[u8], new: &[u8]) -> bool {
    if says_nothing(new) {
        return !says_nothing(old);
    }
    let (old, new) = (demands(old), demands(new));
    let amount = |demands: &[BTreeSet<&[u8]>]| demands.iter().map(BTreeSet::len).sum::<usize>();
    let words: BTreeSet<&[u8]> = new.iter().flatten().copied().collect();
    let left = |line: &BTreeSet<&[u8]>| line.intersection(&words).count() * 2 >= line.len();
    !old.is_empty() && !old.iter().any(left) && amount(&new) < amount(&old)
}

/// Returns the words of each line that may demand something.
fn demands(content: &[u8]) -> Vec<BTreeSet<&[u8]>> {
    lines(content).into_iter().filter(|line| is_demand(line)).map(words).collect()
}

/// Whether a line of a test file may demand something of the code: it has words, is no comment,
/// opens no block, and does not belong to the frame around tests.
pub(super) fn is_demand(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let opens = matches!(line.last(), Some(b'{' | b'(' | b':'));
    has_words(line) && !opens && !is_frame(line)
}

/// Whether a line has words, and is no comment.
pub(super) fn has_words(line: &[u8]) -> bool {
    !(is_comment(line.trim_ascii()) || words(line).is_empty())
}

/// Returns the words of a line.
fn words(line: &[u8]) -> BTreeSet<&[u8]> {
    let cut = |byte: &u8| !(byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80);
    line.split(cut).filter(|word| !word.is_empty()).collect()
}

/// Whether a line is a comment of the common kinds.
pub(super) fn is_comment(line: &[u8]) -> bool {
    let comment = [&b"#"[..], b"//", b"--", b";", b"/*", b"*/", b"* ", b"<!--", b"%"];
    // An attribute of Rust is no comment.
    comment.iter().any(|mark| line.starts_with(mark)) && !line.starts_with(b"#[")
}

/// Returns the numbers, from 0, of the lines of `new` that are marks which `old` does not have
/// before the same line.
fn more_marks(old: &[u8], new: &[u8], is_mark: fn(&[u8]) -> bool) -> BTreeSet<usize> {
    let mut known: HashMap<_, usize> = HashMap::new();
    for (_, mark) in marks(old, is_mark) {
        *known.entry(mark).or_default() += 1;
    }
    let is_new = |(at, mark)| match known.get_mut(&mark) {
        Some(0) | None => Some(at),
        Some(count) => {
            *count -= 1;
            None
        }
    };
    marks(new, is_mark).into_iter().filter_map(is_new).collect()
}

/// A mark and what it marks: the next line that is neither blank nor an attribute.
type Mark<'a> = (&'a [u8], Option<&'a [u8]>);

/// Returns the marks of a content with their line numbers, from 0, the last first.
fn marks(content: &[u8], is_mark: fn(&[u8]) -> bool) -> Vec<(usize, Mark<'_>)> {
    let mut next = None;
    let mut found = Vec::new();
    for (at, line) in lines(content).into_iter().map(<[u8]>::trim_ascii).enumerate().rev() {
        if is_mark(line) {
            found.push((at, (line, next)));
        }
        let attribute = line.starts_with(b"@") || (line.starts_with(b"#[") && line.ends_with(b"]"));
        if !(line.is_empty() || attribute) {
            next = Some(line);
        }
    }
    found
}

/// Marks that make test runners skip tests, or end before they run them.
const SKIPS: &str = r#"(?x-u)
    # Python
    @(?:pytest\.mark\.|mark\.)?(?:skip|skipif|xfail|skip_if|skipIf|skipUnless|expectedFailure)\b
  | \b(?:pytest|unittest)\.(?:skip|skipif|skipIf|skipUnless|xfail|importorskip|SkipTest|expectedFailure)\b
  | \bself\.skipTest\b | \braise\s+(?:unittest\.)?SkipTest\b | \bpytestmark\s*= | \b__test__\s*=\s*False
    # JavaScript
  | \b(?:it|test|describe|context|suite|specify|t)\s*\.\s*(?:skip|only|todo|fixme|failing)\b
  | \b[xf](?:it|describe|test|context|specify)\s*\(
  | \b(?:skip|only|todo)\s*:\s*(?:true|["'])
    # Rust
  | \#!?\[\s*(?:ignore\b|cfg\s*\(\s*(?:any\s*\(\s*\)|FALSE|false|not\s*\(\s*test)) | \#!?\[\s*cfg_attr\s*\([^\]]*\bignore\b
    # the JVM and .NET
  | @(?:Disabled|Ignore|DisabledIf|EnabledIf)\b | \[\s*(?:Ignore|Explicit)\b | \bSkip\s*=\s*"
  | \bassumeTrue\s*\(\s*false | \bAssert\.Ignore\b
    # Go
  | \b[a-z]\.Skip(?:f|Now)?\s*\( | ^//\s*go:build\b | ^//\s*\+build\b
    # Ruby, PHP, Elixir
  | ^\s*(?:skip|pending)\b | \bmarkTest(?:Skipped|Incomplete)\b | @(?:tag|moduletag)\s+:?skip
    # a shell, bats, and an early end anywhere
  | ^\s*(?:exit|return)\s*(?:0\s*)?(?:;|$|\#) | \b(?:os\._exit|sys\.exit|process\.exit|std::process::exit|os\.Exit|System\.exit)\s*\(
"#;

/// Those of the marks that code has for no other reason; a group matches the mark alone.
const AMONG_CODE: &str = r"(?x-u)
    ^\s*(?:\#\[[^\]]*\]\s*)*(\#!?\[\s*(?:ignore\b[^\]]*|cfg_attr\s*\([^\]]*\bignore\b[^\]]*|cfg\s*\(\s*(?:any\s*\(\s*\)|FALSE|false)\s*\))\s*\])
  | ^\s*(@(?:pytest\.mark\.|mark\.|unittest\.)?(?:skip|skipif|xfail|skipIf|skipUnless|expectedFailure)\b.*)
  | ^\s*((?:self\.skipTest\b|__test__\s*=\s*False).*)
";

/// Whether the line names a hook with which a test file chooses which tests of a folder run.
fn chooses_tests(line: &[u8]) -> bool {
    let hooks = [
        &b"load_tests"[..],
        b"collect_ignore",
        b"pytest_collection_modifyitems",
        b"pytest_ignore_collect",
        b"pytest_collect_file",
    ];
    hooks.iter().any(|hook| line.windows(hook.len()).any(|window| window == *hook))
}

fn is_skip_mark(line: &[u8]) -> bool {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    // The pattern is built in, and a test compiles it.
    let shape = SHAPE.get_or_init(|| Regex::new(SKIPS).ok());
    chooses_tests(line) || shape.as_ref().is_some_and(|shape| shape.is_match(line))
}

/// The first line of a function, as far as it can be told by that line alone.
const FUNCTION: &str = r"(?x-u)
    ^(?:(?:export|default|async|pub|public|private|protected|internal|static|final|override)\s+)*
     (?:(?:def|fn|fun|func|function)\b | (?:void|int|bool)\s+\w+\s*\()
  | (?:=> | \bfunc\s*\([^()]*\)[^(){}]* | \bfunction\s*\w*\s*\([^()]*\))\s*\(?\{$
    # a shell, bats
  | ^[\w:-]+\s*\(\)\s*\{$ | ^@test\b
";

/// Whether line `at` of `new` is a `return` that ends a function which `old` does not have, and so
/// no test that it has. The function is found by indentation; where that is in doubt, the answer is
/// no.
fn returns_from_new_function(old: &[u8], new: &[u8], at: usize) -> bool {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    let Some(shape) = SHAPE.get_or_init(|| Regex::new(FUNCTION).ok()).as_ref() else {
        return false;
    };
    let indent = |line: &[u8]| line.len() - line.trim_ascii_start().len();
    let mut above = lines(new).into_iter().take(at + 1).rev();
    let Some(mark) = above.next().filter(|line| line.trim_ascii_start().starts_with(b"return"))
    else {
        return false;
    };
    let mut within = indent(mark);
    for line in above {
        let text = line.trim_ascii();
        if text.is_empty() || indent(line) >= within {
            continue;
        }
        if shape.is_match(text) {
            return !lines(old).into_iter().any(|line| line.trim_ascii() == text);
        }
        let closes = matches!(text.first(), Some(b')' | b']' | b'}'));
        let opens = matches!(text.last(), Some(b'{' | b'(' | b':'));
        if closes && !opens {
            return false;
        }
        // A block that goes on, or a brace on a line of its own, belongs to a line above it with
        // the same indentation.
        within = indent(line) + usize::from(closes || text == b"{");
    }
    false
}

fn is_mark_among_code(line: &[u8]) -> bool {
    mark_among_code(line).is_some()
}

/// Returns the bytes of a line of code that are the mark.
fn mark_among_code(line: &[u8]) -> Option<Range<usize>> {
    static SHAPE: OnceLock<Option<Regex>> = OnceLock::new();
    let shape = SHAPE.get_or_init(|| Regex::new(AMONG_CODE).ok()).as_ref()?;
    let groups = shape.captures(line)?;
    groups.iter().skip(1).flatten().next().map(|mark| mark.range())
}

#[cfg(test)]
mod tests {
    use super::super::{ProofPolicyConfig, Verify};
    use super::*;
    use crate::change::testing::{Side, diff, file};

    type Changes<'a> = &'a [(&'a str, Side<'a>, Side<'a>)];

    fn fates(changes: Changes<'_>) -> Vec<(String, TestFate, Option<String>)> {
        let verify = Verify::Command(vec!["make".to_owned()]);
        let policy = ProofPolicy::compile(ProofPolicyConfig::default(), verify, []).unwrap();
        let (diff, blobs) = diff(changes);
        let found = test_changes(&policy, &diff, &blobs);
        let plain = |one: &TestChange<'_>| {
            let to = one.moved_to.map(|to| to.path.to_string());
            (one.change.path.to_string(), one.fate, to)
        };
        found.iter().map(plain).collect()
    }

    #[test]
    fn what_becomes_of_tests_is_told_apart() {
        use TestFate::{Added, Deleted, Edited, Emptied, Moved, SkipMarked};
        let check = |old: Side<'_>, new: Side<'_>, expected: TestFate| {
            let found = fates(&[("tests/a.py", old, new), ("src/b.py", None, file("x"))]);
            assert_eq!(found, [("tests/a.py".to_owned(), expected, None)], "{old:?} {new:?}");
        };
        let old = "import calc\ndef test_a(): assert calc.one() == 1\n";
        check(None, file(old), Added);
        check(file(old), file("import calc\ndef test_a(): assert calc.one() == 2\n"), Edited);
        check(file(old), None, Deleted);
        for empty in ["", "\n\n", "# nothing\n", "// one\n/* two\n * three\n*/\n"] {
            check(file(old), file(empty), Emptied);
        }
        // None of its demands is left, and less is demanded.
        for empty in [":\n", "pass\n", "import calc\ndef test_a(): pass\n"] {
            check(file(old), file(empty), Emptied);
        }
        check(file(""), file("\n"), Edited);
        // Golden data of one word, and a demand that changes.
        check(file("42\n"), file("43\n"), Edited);
        let (one, other) =
            ("[ \"$(greet Ada)\" = \"Hello, Ada!\" ]\n", "[ \"$(greet Ada)\" = Hi ]\n");
        check(file(one), file(other), Edited);
        let (program, link) = (Some((Mode::Executable, one.as_bytes())), Mode::Symlink);
        check(program, Some((link, b"other.py")), Deleted);
        check(program, file(one), SkipMarked);
        check(file(one), program, Edited);
        check(file("x"), file("#[test]\nfn a() { x() }\n"), Edited);

        let long = "one\ntwo\nthree\nfour\n";
        let moved = |new: &'static str| {
            let found = fates(&[("tests/a.sh", file(long), None), ("tests/b.sh", None, file(new))]);
            found.into_iter().map(|(_, fate, to)| (fate, to)).collect::<Vec<_>>()
        };
        let to = || Some("tests/b.sh".to_owned());
        assert_eq!(moved("one\ntwo\nthree\nfour\n"), [(Moved, to()), (Added, None)]);
        assert_eq!(moved("one\n2\nthree\nfour\n"), [(Moved, to()), (Added, None)]);
        assert_eq!(moved("one\n2\n3\n4\n"), [(Deleted, None), (Added, None)]);
        // Lines that every test file has do not make one file the new place of another.
        let frame = |test: &str| {
            format!(
                "import unittest, calc\nclass T(unittest.TestCase):\n    {test}\nunittest.main()\n"
            )
        };
        let (one, other) = (frame("def test_one(self): pass"), frame("def test_two(self): pass"));
        let found = fates(&[("tests/a.py", file(&one), None), ("tests/b.py", None, file(&other))]);
        assert_eq!(found.iter().map(|(_, fate, _)| *fate).collect::<Vec<_>>(), [Deleted, Added]);
        // A new file is the new place of only one old file.
        let found = fates(&[
            ("tests/a.sh", file("one\ntwo\n"), None),
            ("tests/b.sh", file("one\ntwo\n"), None),
            ("tests/c.sh", None, file("one\ntwo\n")),
        ]);
        assert_eq!(
            found.iter().map(|(_, fate, _)| *fate).collect::<Vec<_>>(),
            [Moved, Deleted, Added]
        );
        // A code file with the same content is not the new place of a test.
        let found = fates(&[("src/b.sh", None, file(long)), ("tests/a.sh", file(long), None)]);
        assert_eq!(found[0].1, Deleted);
    }

    #[test]
    fn marks_of_common_runners_skip_tests() {
        for mark in [
            "@pytest.mark.skip",
            "@pytest.mark.skipif(True, reason='x')",
            "@unittest.skip('x')",
            "@pytest.mark.xfail(strict=False)",
            "    pytest.skip('later')",
            "        self.skipTest('x')",
            "raise unittest.SkipTest",
            "def load_tests(loader, tests, pattern):",
            "collect_ignore = ['a.py']",
            "pytestmark = pytest.mark.skip",
            "__test__ = False",
            "it.skip('adds', () => {",
            "test.only('adds', () => {",
            "describe.skip('x', f)",
            "xit('adds', () => {",
            "xdescribe('x', () => {",
            "test('a', { skip: true }, f)",
            "test.todo('adds')",
            "    #[ignore]",
            "#[ignore = \"slow\"]",
            "#[cfg(any())]",
            "#![cfg(any())]",
            "#[cfg_attr(test, ignore)]",
            "    @Disabled",
            "@Ignore(\"x\")",
            "[Fact(Skip = \"x\")]",
            "    t.Skip(\"later\")",
            "\tt.SkipNow()",
            "//go:build ignore",
            "  skip 'later'",
            "$this->markTestSkipped('x');",
            "  @tag :skip",
            "exit 0",
            "  exit",
            "return 0",
            "sys.exit(0)",
            "process.exit(0);",
            "    os._exit(0)",
        ] {
            assert!(is_skip_mark(mark.as_bytes()), "{mark}");
        }
        for plain in [
            "def test_skips_blank_lines(): assert calc.skip(1) == 2",
            "assert only == 1",
            "    assert_eq!(todo(), 3);",
            "it('skips blank lines', () => {",
            "expect(list.only(1))",
            "    return 0 if x else 1",
            "#[test]",
            "#[cfg(test)]",
            "exit 1",
            "fit = curve(x)",
            "t.Run(\"skip\", func(t *testing.T) {",
            "ignored = [1, 2]",
            "exits = 0",
            "return 1",
        ] {
            assert!(!is_skip_mark(plain.as_bytes()), "{plain}");
        }
        let found = fates(&[("tests/a.py", file("a\n"), file("@pytest.mark.skip\na\n"))]);
        assert_eq!(found[0].1, TestFate::SkipMarked);
        let hook = "def load_tests(loader, tests, pattern):\n";
        let found = fates(&[("tests/__init__.py", None, file(hook))]);
        assert_eq!(found[0].1, TestFate::SkipMarked, "a new file may choose, too");
        // A mark that was there before, moved or not, hides nothing new.
        let marked = "@pytest.mark.skip\na\n";
        let found = fates(&[("tests/a.py", file(marked), file("b\n@pytest.mark.skip\na\n"))]);
        assert_eq!(found[0].1, TestFate::Edited);
        // A mark that moved to another test does.
        let both = "@pytest.mark.skip\n@x\na\nb\n";
        let found = fates(&[("tests/a.py", file(both), file("a\n@pytest.mark.skip\nb\n"))]);
        assert_eq!(found[0].1, TestFate::SkipMarked);
        let found = fates(&[("tests/a.sh", file("a\nexit 0\n"), file("exit 0\na\n"))]);
        assert_eq!(found[0].1, TestFate::SkipMarked);
    }

    #[test]
    fn a_return_skips_tests_only_where_it_ends_an_old_one() {
        use TestFate::{Edited, SkipMarked};
        let check = |path: &str, old: &str, new: &str, expected: TestFate| {
            let found = fates(&[(path, file(old), file(new))]);
            assert_eq!(found[0].1, expected, "{new}");
        };
        let go = "func TestA(t *testing.T) {\n\tcheck(t)\n}\n";
        let handler = "\nfunc TestB(t *testing.T) {\n\tserve(func(w W, r *R) {\n\t\tif r.Bad {\n\
                       \t\t\tgone(w)\n\t\t\treturn\n\t\t}\n\t\tserve(w)\n\t})\n}\n";
        check("a_test.go", go, &format!("{go}{handler}"), Edited);
        let table = "\nfunc TestB(t *testing.T) {\n\tfor _, tt := range all {\n\t\tif tt.fails {\n\
                     \t\t\treturn\n\t\t} else {\n\t\t\treturn\n\t\t}\n\t}\n}\n";
        check("a_test.go", go, &format!("{go}{table}"), Edited);
        for ended in ["\treturn\n\tcheck", "\tif true {\n\t\treturn\n\t}\n\tcheck"] {
            check("a_test.go", go, &go.replace("\tcheck", ended), SkipMarked);
        }
        // A function that was closed above is not the one that is ended.
        let closed = go.replace("\tcheck", "  f := func() {\n  }\n    return\n\tcheck");
        check("a_test.go", go, &closed, SkipMarked);

        let js = "describe('a', () => {\n  it('b', () => {\n    check();\n  });\n});\n";
        let added =
            "  it('c', () => {\n    mock(function () {\n      return;\n    });\n  });\n});\n";
        check("a.test.js", js, &js.replace("\n});\n", &format!("\n{added}")), Edited);
        let describe = js.replace("  it", "  return;\n  it");
        check("a.test.js", js, &describe, SkipMarked);
        check("a.test.js", js, &js.replace("    check", "    return;\n    check"), SkipMarked);
        check("a.test.js", js, &format!("if (true) {{\n  return;\n}}\n{js}"), SkipMarked);

        let python = "class A:\n    def test_a(self):\n        check()\n";
        let added = "\n    def test_b(\n        self,\n    ):\n        if x:\n            return\n";
        check("test_a.py", python, &format!("{python}{added}"), Edited);
        let ended = python.replace("        check", "        return\n        check");
        check("test_a.py", python, &ended, SkipMarked);
        let php = "class A {\n  public function testA()\n  {\n    check();\n  }\n}\n";
        let added = "\n  public function testB()\n  {\n    return;\n  }\n}\n";
        check("a_test.php", php, &php.replace("\n}\n", added), Edited);
        let sh = "a\n";
        check("tests/a.sh", sh, "a\nb() {\n  x && y\n  return 0\n}\nb\n", Edited);
        check("tests/a.sh", sh, "if true; then\n  return\nfi\na\n", SkipMarked);
        // Whatever calls it, the whole process ends.
        check("tests/a.sh", sh, "b() {\n  exit 0\n}\nb\na\n", SkipMarked);
    }

    #[test]
    fn code_has_few_lines_that_can_only_be_marks() {
        let verify = Verify::Command(vec!["make".to_owned()]);
        let policy = ProofPolicy::compile(ProofPolicyConfig::default(), verify, []).unwrap();
        let without = |old: &str, new: &str| {
            let (diff, blobs) = diff(&[("src/a.rs", file(old), file(new))]);
            let found = unmarked(&policy, &diff, &blobs);
            found.into_iter().map(|(.., text)| String::from_utf8(text).unwrap()).next()
        };
        let test = "#[test]\nfn a() {}\n";
        for mark in [
            "#[ignore]",
            "#[ignore = \"slow\"]",
            "#[cfg(any())]",
            "#![cfg(any())]",
            "#[cfg_attr(all(), ignore)]",
            "    @unittest.skip('later')",
            "@pytest.mark.skipif(True, reason='x')",
            "__test__ = False",
        ] {
            assert_eq!(without(test, &format!("{mark}\n{test}")).as_deref(), Some(test), "{mark}");
        }
        for code in [
            "exit 0",
            "    return;",
            "pending.push(x);",
            "model.fit(x)",
            "list.Skip(1)",
            "#[cfg(not(test))]",
            "skip = true",
            "let text = \"#[ignore]\";",
            "/// #[ignore]",
        ] {
            assert_eq!(without(test, &format!("{test}{code}\n")), None, "{code}");
        }
        let inline = without("#[test] fn a() {}\n", "#[test] #[ignore] fn a() {}\n");
        assert_eq!(inline.as_deref(), Some("#[test]  fn a() {}\n"));
        // A mark that was there before stays on its test.
        let slow = "#[ignore]\n#[test]\nfn slow() {}\n";
        let all = format!("{test}{slow}");
        assert_eq!(without(&all, &format!("{all}fn b() {{}}\n")), None);
        let marked = format!("#[ignore]\n{all}");
        assert_eq!(without(&all, &marked).as_deref(), Some(&*all));
    }
}
