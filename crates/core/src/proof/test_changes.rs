//! What a change does to the tests of a repo: which it adds, edits, empties, deletes, moves, and
//! which it marks to be skipped.
//!
//! A deleted file counts as moved if a new test file has at least three fifths of its lines; lines
//! that every test file has do not count. A file is emptied if nothing of what it demanded is left
//! in it, and it demands less. A file is marked to be skipped if it has a mark (`skips.rs`)
//! that can skip tests which were there before: fewer tests are run than before. The same holds for
//! a file that loses its executable bit. A file that a link replaces counts as deleted.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::classes::PathClass;
use super::policy::ProofPolicy;
use super::skips::{
    Sides, chooses_tests, is_mark_among_code, is_skip_mark, mark_among_code, more_marks,
    runs_no_tests,
};
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
    let chooses = content.is_some_and(|content| {
        lines(content).into_iter().any(chooses_tests) || runs_no_tests(content)
    });
    if chooses { TestFate::SkipMarked } else { TestFate::Added }
}

fn edited(old: &Entry, new: &Entry, blobs: &Blobs) -> TestFate {
    match (old.mode, new.mode) {
        (_, Mode::Symlink | Mode::Submodule) => return TestFate::Deleted,
        // A runner may start only executable files.
        (Mode::Executable, Mode::Regular) => return TestFate::SkipMarked,
        (_, Mode::Regular | Mode::Executable) => {}
    }
    let (Some(before), Some(after)) = (blobs.content(old), blobs.content(new)) else {
        return TestFate::Edited;
    };
    if is_emptied(before, after) {
        return TestFate::Emptied;
    }
    let sides = Sides::new(before, after);
    let spared = more_marks(before, after, is_skip_mark).into_iter().all(|at| sides.spares(at));
    let ends_all = runs_no_tests(after) && !runs_no_tests(before);
    if spared && !ends_all { TestFate::Edited } else { TestFate::SkipMarked }
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
    fn a_mark_where_there_was_none_skips_tests() {
        let found = fates(&[("tests/a.py", file("a\n"), file("@pytest.mark.skip\na\n"))]);
        assert_eq!(found[0].1, TestFate::SkipMarked);
        let hook = "def load_tests(loader, tests, pattern):\n";
        let found = fates(&[("tests/__init__.py", None, file(hook))]);
        assert_eq!(found[0].1, TestFate::SkipMarked, "a new file may choose, too");
        let test_main = |text: &str| fates(&[("tests/main_test.go", None, file(text))])[0].1;
        for none in [
            "func TestMain(*testing.M) { os.Exit(0) }\n",
            "func TestMain(_ *testing.M) {\n}\n",
            "func TestMain(m *testing.M) {\n\t// m.Run()\n\t_ = m\n}\n\nfunc run(m int) {}\n",
        ] {
            assert_eq!(test_main(none), TestFate::SkipMarked, "{none}");
        }
        for all in [
            "func TestMain(m *testing.M) { os.Exit(m.Run()) }\n",
            "func TestMain(m *testing.M) {\n\tsetUp()\n\tos.Exit(m.Run())\n}\n",
            "func TestMain(m *testing.M) {\n\tgoleak.VerifyTestMain(m)\n}\n",
            "func TestMainPage(t *testing.T) {\n\tserve(t)\n}\n",
        ] {
            assert_eq!(test_main(all), TestFate::Added, "{all}");
        }
        let go = "func TestA(t *testing.T) {\n\tcheck(t)\n}\n";
        let none = format!("{go}\nfunc TestMain(m *testing.M) {{\n}}\n");
        let found = fates(&[("a_test.go", file(go), file(&none))]);
        assert_eq!(found[0].1, TestFate::SkipMarked, "an edited file may end all tests, too");
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
    fn a_mark_on_what_is_new_skips_no_old_test() {
        use TestFate::{Edited, SkipMarked};
        let check = |path: &str, old: &str, new: &str, expected: TestFate| {
            let found = fates(&[(path, file(old), file(new))]);
            assert_eq!(found[0].1, expected, "{new}");
        };
        let rust = "#[test]\nfn a() {\n    check();\n}\n";
        let with = |above: &str| format!("{rust}{above}\n#[test]\nfn b() {{\n    check(1);\n}}\n");
        check("tests/a.rs", rust, &with("#[ignore]"), Edited);
        check("tests/a.rs", rust, &with("#[cfg(unix)]\nuse std::os;\n"), Edited);
        check("tests/a.rs", rust, &format!("#[cfg(windows)]\n{rust}"), SkipMarked);
        check("tests/a.rs", rust, &format!("#![cfg(windows)]\n{rust}"), SkipMarked);
        check("tests/a.rs", rust, &format!("#[cfg(windows)]\nmod b {{\n{rust}}}\n"), SkipMarked);
        // A demand of an old test may change besides.
        let edited = with("#[cfg(unix)]").replace("check()", "check(2)");
        check("tests/a.rs", rust, &edited, Edited);
        // An old test under a new name, and what only looks like a new one.
        check("tests/a.rs", rust, &with("#[ignore]").replace("fn a", "fn c"), SkipMarked);
        let (one, other) = ("#[test] fn a() { check(); }\n", "#[test]\nfn b() { check(); }\n");
        check("tests/a.rs", one, &format!("#[ignore]\n{other}"), SkipMarked);
        check("tests/a.rs", "mod a;\n", "#[cfg(windows)]\nmod b;\n", SkipMarked);
        for between in ["// x => {", "/*\nfn c() {\n*/", "#[doc = \"=> {\n\"]", "// x;"] {
            check("tests/a.rs", rust, &format!("#[ignore]\n{between}\n{rust}"), SkipMarked);
        }
        let python = "def test_a():\n    check()\n";
        let new = "\n@pytest.mark.skipif(on_windows(), reason='x')\ndef test_b():\n    check(1)\n";
        check("test_a.py", python, &format!("{python}{new}"), Edited);
        check("test_a.py", python, &format!("@pytest.mark.skip(\n'x'\n)\n{python}"), SkipMarked);
        let exits = "def test_b():\n    with raises(SystemExit):\n        sys.exit(2)\n";
        check("test_a.py", python, &format!("{python}\n{exits}"), Edited);
        for code in ["0", "256", "main()"] {
            let exits = exits.replace('2', code);
            check("test_a.py", python, &format!("{python}\n{exits}"), SkipMarked);
        }
        let ended = python.replace("    check", "    sys.exit(2)\n    check");
        check("test_a.py", python, &ended, SkipMarked);
        let pending =
            "def test_pending():\n    pending = queue.pending()\n    assert pending == []\n";
        check("test_a.py", python, &format!("{python}\n{pending}"), Edited);
        let java = "class A {\n  @Test\n  void a() {\n    check();\n  }\n}\n";
        let new = "  @Test\n  @DisabledOnOs(WINDOWS)\n  void b() {\n    check(1);\n  }\n}\n";
        check("ATest.java", java, &java.replace("\n}\n", &format!("\n{new}")), Edited);
        let edited = java.replace("check()", "check(2)").replace("\n}\n", &format!("\n{new}"));
        check("ATest.java", java, &edited, Edited);
        let off = java.replace("  @T", "  @DisabledOnOs(LINUX)\n  @T");
        check("ATest.java", java, &off, SkipMarked);
        let sh = "set -e\na\n";
        check("tests/a.sh", sh, &format!("{sh}set +e\nb\ncode=$?\nset -e\n"), Edited);
        let sh = "set -e\na\nset +e\nout=$(b)\ncode=$?\nset -e\n";
        let second = "set +e\nout=$(c)\ncode=$?\nset -e\n";
        check("tests/a.sh", sh, &format!("{sh}{second}"), Edited);
        let on_one_line = second.trim_end().replace('\n', "; ");
        check("tests/a.sh", sh, &format!("{sh}{on_one_line}\n"), Edited);
        check("tests/a.sh", sh, &format!("{sh}set +e; out=$(c) # set -e\n"), SkipMarked);
        let sh = "set -e\na\n";
        check("tests/a.sh", sh, "set -e\nset +e; a; set -e\n", SkipMarked);
        check("tests/a.sh", sh, "set -e\nset +e\na\nset -e\n", SkipMarked);
        check("tests/a.sh", sh, "set +e\nset -e\na\nset +e\n", SkipMarked);
    }

    #[test]
    fn a_new_test_may_skip_itself() {
        use TestFate::{Edited, SkipMarked};
        let check = |path: &str, old: &str, new: &str, expected: TestFate| {
            let found = fates(&[(path, file(old), file(new))]);
            assert_eq!(found[0].1, expected, "{new}");
        };
        let go = "func TestA(t *testing.T) {\n\tcheck(t)\n}\n";
        let short = "\tif testing.Short() {\n\t\tt.Skip(\"slow\")\n\t}\n";
        let new = format!("\nfunc TestB(t *testing.T) {{\n{short}\tcheck(t, 1)\n}}\n");
        check("a_test.go", go, &format!("{go}{new}"), Edited);
        let part = "\tt.Run(\"b\", func(t *testing.T) {\n\t\tt.Skip(\"slow\")\n\t})\n";
        let parts = format!("\nfunc TestB(t *testing.T) {{\n{part}}}\n");
        check("a_test.go", go, &format!("{go}{parts}"), Edited);
        // In an old test, in one with a new name, and in what old tests may call.
        check("a_test.go", go, &go.replace("\tcheck", &format!("{short}\tcheck")), SkipMarked);
        check("a_test.go", go, &go.replace("\tcheck", &format!("{part}\tcheck")), SkipMarked);
        check("a_test.go", go, &format!("{go}{new}").replace("TestA", "TestC"), SkipMarked);
        let helper = new.replace("func TestB(t *testing.T)", "func check(t *testing.T)");
        check("a_test.go", go, &format!("{go}{helper}"), SkipMarked);
        let run = go.replace("\tcheck(t)", "\tTestB(t)\n\tcheck(t)");
        check("a_test.go", go, &format!("{run}{new}"), SkipMarked);
        let ends = new.replace("Skip(\"slow\")", "Skip(os.Exit(0))");
        check("a_test.go", go, &format!("{go}{ends}"), SkipMarked);

        let python = "class A(TestCase):\n    def test_a(self):\n        check()\n";
        for call in ["self.skipTest('x')", "pytest.skip('x')", "raise unittest.SkipTest('x')"] {
            let new = format!("\n    def test_b(self):\n        if no:\n            {call}\n");
            check("test_a.py", python, &format!("{python}{new}"), Edited);
            let set_up = new.replace("test_b", "setUp");
            check("test_a.py", python, &format!("{python}{set_up}"), SkipMarked);
            let ended = python.replace("        check", &format!("        {call}\n        check"));
            check("test_a.py", python, &ended, SkipMarked);
            let fixture = new.replace("    def", "    @pytest.fixture(autouse=True)\n    def");
            check("test_a.py", python, &format!("{python}{fixture}"), SkipMarked);
            let renamed = new.replace("    def", "    @fx(autouse=True)\n\n    def");
            check("test_a.py", python, &format!("{python}{renamed}"), SkipMarked);
            let marked = new.replace("    def", "    @pytest.mark.slow\n    def");
            check("test_a.py", python, &format!("{python}{marked}"), Edited);
            // An old test runs it.
            let run = format!("{python}{new}").replace("check()", "self.test_b()");
            check("test_a.py", python, &run, SkipMarked);
        }
        let bats = "@test \"a\" {\n  check\n}\n";
        let new = "@test \"b\" {\n  skip \"no docker\"\n  check 1\n}\n";
        check("tests/a.bats", bats, &format!("{bats}{new}"), Edited);
        let set_up = new.replace("@test \"b\"", "setup()");
        check("tests/a.bats", bats, &format!("{set_up}{bats}"), SkipMarked);
        let js = "describe('a', function () {\n  it('b', function () {\n    check();\n  });\n});\n";
        let new = "  it('c', function () {\n    this.skip();\n  });\n});\n";
        check("a.test.js", js, &js.replace("\n});\n", &format!("\n{new}")), Edited);
        let before = new.replace("it('c', ", "beforeEach(");
        check("a.test.js", js, &js.replace("\n});\n", &format!("\n{before}")), SkipMarked);
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
