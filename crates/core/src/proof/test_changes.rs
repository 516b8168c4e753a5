//! What a change does to the tests of a repo: which it adds, edits, empties, deletes, moves, and
//! which it marks to be skipped.
//!
//! A deleted file whose lines stand mostly in a new test file was moved; lines that every test file
//! has count for nothing. A file is emptied if nothing but blank lines and comments is left of it.
//! Skip marks are those of the common test runners, and of hooks that choose which tests run: an
//! added line that has one means that fewer tests are run than before.

use std::sync::OnceLock;

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use super::classes::PathClass;
use super::policy::ProofPolicy;
use crate::change::{Blobs, Change, Diff, Entry, TreePath, common_lines, lines, removed_lines};

/// What a change does to one test file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestFate {
    /// It is gone.
    Deleted,
    /// Nothing of it is left but blank lines and comments.
    Emptied,
    /// It is edited, and has more marks to skip tests than before.
    SkipMarked,
    /// It is now elsewhere, as it was or edited.
    Moved,
    /// It is edited.
    Edited,
    /// It is new.
    Added,
}

impl TestFate {
    /// Its word, as in the evidence.
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

    /// Whether tests that were there are no longer run.
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
    /// Where it is now, if it was moved.
    pub(super) moved_to: Option<&'a TreePath>,
}

/// Every test file that `diff` touches, in path order.
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
            (Some(_), Some(_)) => (edited(change, blobs), None),
            (Some(old), None) => match moved_to(old, &mut free, blobs) {
                Some(to) => (TestFate::Moved, Some(to)),
                None => (TestFate::Deleted, None),
            },
        };
        TestChange { change, fate, moved_to }
    });
    fates.collect()
}

/// A new file may choose which tests run, too.
fn added(change: &Change, blobs: &Blobs) -> TestFate {
    let content = change.new.as_ref().and_then(|entry| blobs.content(entry));
    let chooses = content.is_some_and(|content| lines(content).into_iter().any(chooses_tests));
    if chooses { TestFate::SkipMarked } else { TestFate::Added }
}

fn edited(change: &Change, blobs: &Blobs) -> TestFate {
    let content = |entry: &Option<Entry>| entry.as_ref().and_then(|e| blobs.content(e));
    let (Some(old), Some(new)) = (content(&change.old), content(&change.new)) else {
        return TestFate::Edited;
    };
    if says_nothing(new) && !says_nothing(old) {
        TestFate::Emptied
    } else if removed_lines(new, old).into_iter().any(is_skip_mark) {
        TestFate::SkipMarked
    } else {
        TestFate::Edited
    }
}

/// The new file that has most of the content of `old`; each is taken once.
fn moved_to<'a>(old: &Entry, free: &mut Vec<&'a Change>, blobs: &Blobs) -> Option<&'a TreePath> {
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
    Some(&free.remove(at).path)
}

/// The lines of a test file that tell it from another: not what is blank, a bracket, an import, or
/// the frame around tests.
fn telling(content: &[u8]) -> Vec<u8> {
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
    let mut kept = Vec::new();
    for line in lines(content) {
        let text = line.trim_ascii();
        let frame = FRAMES.iter().any(|frame| text.starts_with(frame));
        let bare = text.iter().filter(|byte| byte.is_ascii_alphanumeric()).count() < 2;
        if !frame && !bare {
            kept.extend_from_slice(text);
            kept.push(b'\n');
        }
    }
    kept
}

/// Whether a content is only blank lines and comments of the common kinds.
fn says_nothing(content: &[u8]) -> bool {
    lines(content).into_iter().map(<[u8]>::trim_ascii).all(|line| {
        let comment = [&b"#"[..], b"//", b"--", b";", b"/*", b"*/", b"* ", b"<!--", b"%"];
        // An attribute of Rust is no comment.
        line.is_empty()
            || (comment.iter().any(|mark| line.starts_with(mark)) && !line.starts_with(b"#["))
    })
}

/// Marks with which test runners skip tests, or end before them.
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

/// Hooks by which a test file chooses which tests of a folder run.
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
    // One of our own patterns; a test compiles it.
    let shape = SHAPE.get_or_init(|| Regex::new(SKIPS).ok());
    chooses_tests(line) || shape.as_ref().is_some_and(|shape| shape.is_match(line))
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
            let to = one.moved_to.map(ToString::to_string);
            (one.change.path.to_string(), one.fate, to)
        };
        found.iter().map(plain).collect()
    }

    #[test]
    fn what_becomes_of_tests_is_told_apart() {
        use TestFate::{Added, Deleted, Edited, Emptied, Moved};
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
        check(file(""), file("\n"), Edited);
        check(file("x"), file("#[test]\n"), Edited);

        let long = "one\ntwo\nthree\nfour\n";
        let moved = |new: &'static str| {
            let found = fates(&[("tests/a.sh", file(long), None), ("tests/b.sh", None, file(new))]);
            found.into_iter().map(|(_, fate, to)| (fate, to)).collect::<Vec<_>>()
        };
        let to = || Some("tests/b.sh".to_owned());
        assert_eq!(moved("one\ntwo\nthree\nfour\n"), [(Moved, to()), (Added, None)]);
        assert_eq!(moved("one\n2\nthree\nfour\n"), [(Moved, to()), (Added, None)]);
        assert_eq!(moved("one\n2\n3\n4\n"), [(Deleted, None), (Added, None)]);
        // What every test file has makes no other file of the same.
        let frame = |test: &str| {
            format!(
                "import unittest, calc\nclass T(unittest.TestCase):\n    {test}\nunittest.main()\n"
            )
        };
        let (one, other) = (frame("def test_one(self): pass"), frame("def test_two(self): pass"));
        let found = fates(&[("tests/a.py", file(&one), None), ("tests/b.py", None, file(&other))]);
        assert_eq!(found.iter().map(|(_, fate, _)| *fate).collect::<Vec<_>>(), [Deleted, Added]);
        // One new file is the new place of one old file alone, of the one most like it.
        let found = fates(&[
            ("tests/a.sh", file("one\ntwo\n"), None),
            ("tests/b.sh", file("one\ntwo\n"), None),
            ("tests/c.sh", None, file("one\ntwo\n")),
        ]);
        assert_eq!(
            found.iter().map(|(_, fate, _)| *fate).collect::<Vec<_>>(),
            [Moved, Deleted, Added]
        );
        // Code of the same content is not where a test went.
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
        // One that was there before, moved or not, hides nothing new.
        let marked = "@pytest.mark.skip\na\n";
        let found = fates(&[("tests/a.py", file(marked), file("b\n@pytest.mark.skip\na\n"))]);
        assert_eq!(found[0].1, TestFate::Edited);
    }
}
