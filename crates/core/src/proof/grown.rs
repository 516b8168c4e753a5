//! Whether a changed runner only grew: by fixtures, or by the names of files that the change adds.
//!
//! The change's tests must pass with the old runner. But a test may need a fixture that the same
//! change adds to `conftest.py`, or a makefile lists the files that are built and tested, so that
//! no version of the old one knows a new file. Such growth tells no trees apart. What it could do
//! otherwise, a test file could do as well. Anything else is no growth, also where it is harmless.

use std::collections::BTreeSet;

use super::classes::PathClass;
use super::policy::ProofPolicy;
use super::scripts::ending;
use crate::change::{Blobs, Change, Diff, Entry, Mode, TreePath};

/// Files that list what is built and tested, besides `*.mk`.
const LISTS: &[&str] =
    &["BSDmakefile", "CMakeLists.txt", "GNUmakefile", "Makefile", "makefile", "meson.build"];

/// Endings of what is compiled and linked. Unlike the name of a script, such a name in a list runs
/// nothing, and is no choice of what a script before it runs.
const SOURCES: &[&str] =
    &["S", "c", "cc", "cpp", "cu", "cxx", "f", "f90", "h", "hh", "hpp", "hxx", "m", "mm", "o", "s"];

/// What a line that only defines a fixture does not contain: hooks of pytest, fixtures that tests
/// do not ask for, names that are imported unseen, and what keeps a test from being run.
const NO_FIXTURE: &[&str] = &[
    "autouse",
    "collect_ignore",
    "exit",
    "import *",
    "os.environ",
    "pytest_",
    "skip",
    "sys.",
    "xfail",
];

/// How a line of `conftest.py` at the left margin may begin that defines fixtures.
const FIXTURE: &[&str] =
    &["#", ")", "@fixture", "@pytest.fixture", "async def ", "def ", "from ", "import "];

/// What stands around and between the words of a list.
const MARKS: &str = "()[],'\"";

/// Whether `change`, which is one of `diff`, only adds fixtures, or names of files that `diff` adds.
pub(super) fn only_grows(
    change: &Change,
    policy: &ProofPolicy,
    diff: &Diff,
    blobs: &Blobs,
) -> bool {
    if change.path.file_name() == b"conftest.py" {
        texts(change, blobs).is_some_and(|(old, new)| adds_fixtures(old.unwrap_or_default(), new))
    } else {
        lists_more(change, &added_names(policy, diff), blobs)
    }
}

/// Whether `change`, which is one of `diff`, only adds names of sources that `diff` adds to a list:
/// then no test is left out that the old list had.
pub(super) fn only_lists_sources(
    change: &Change,
    policy: &ProofPolicy,
    diff: &Diff,
    blobs: &Blobs,
) -> bool {
    let mut names = added_names(policy, diff);
    names.retain(|name| SOURCES.contains(&ending(name)));
    lists_more(change, &names, blobs)
}

/// Whether `change` only adds some of `names` to a file that lists what is built and tested.
fn lists_more(change: &Change, names: &BTreeSet<String>, blobs: &Blobs) -> bool {
    let file = String::from_utf8_lossy(change.path.file_name());
    if !(LISTS.contains(&file.as_ref()) || ending(&file) == "mk") {
        return false;
    }
    let Some((Some(old), new)) = texts(change, blobs) else { return false };
    // A makefile has no marks between its words, and in a recipe they change what is run.
    let has_marks = matches!(&*file, "CMakeLists.txt" | "meson.build");
    adds_names(old, new, names, has_marks)
}

/// Returns the text of a file before `change`, if there was one, and after it; `None` if it is gone,
/// or either is not plain text.
fn texts<'a>(change: &Change, blobs: &'a Blobs) -> Option<(Option<&'a str>, &'a str)> {
    let text = |entry: &Entry| match entry.mode {
        Mode::Regular => blobs.content(entry).and_then(|bytes| str::from_utf8(bytes).ok()),
        Mode::Executable | Mode::Symlink | Mode::Submodule => None,
    };
    let new = text(change.new.as_ref()?)?;
    let old = match &change.old {
        None => None,
        Some(entry) => Some(text(entry)?),
    };
    Some((old, new))
}

/// Whether the newer text has the lines of the older, and whole fixtures and imports between them.
fn adds_fixtures(old: &str, new: &str) -> bool {
    let filled = |line: &&str| !line.trim().is_empty();
    // From the end: a new fixture before an old one often begins with the same line.
    let mut left = old.lines().filter(filled).rev().peekable();
    let mut lines: Vec<(&str, bool)> = new
        .lines()
        .filter(filled)
        .rev()
        .map(|line| (line, left.next_if_eq(&line).is_none()))
        .collect();
    if left.peek().is_some() {
        return false;
    }
    lines.reverse();
    let (mut in_added, mut after_decorator) = (false, false);
    for (line, is_added) in lines {
        let is_inner = line.starts_with([' ', '\t']);
        // What is added is neither put into an old function nor lent an old one's lines.
        if (is_inner || after_decorator) && is_added != in_added {
            return false;
        }
        let begins = FIXTURE.iter().any(|begin| line.starts_with(*begin));
        let says_more = NO_FIXTURE.iter().any(|word| line.contains(*word)) || says_another(line);
        if is_added && (says_more || !(is_inner || begins || is_docstring(line))) {
            return false;
        }
        (in_added, after_decorator) = (is_added, line.starts_with('@'));
    }
    true
}

/// Whether a line may hold more than one statement, or make the lines below it a part of its own.
fn says_another(line: &str) -> bool {
    let has_text = line.contains("\"\"\"") || line.contains("'''");
    // To Python, a carriage return alone ends a line.
    line.contains([';', '\r'])
        || line.trim_end().ends_with('\\')
        || (has_text && !is_docstring(line.trim_start()))
}

/// Whether a line is a whole docstring and nothing else.
fn is_docstring(line: &str) -> bool {
    let inner = line.strip_prefix("\"\"\"").and_then(|rest| rest.trim_end().strip_suffix("\"\"\""));
    inner.is_some_and(|inner| !inner.contains(['"', '\\']))
}

/// Returns how a list may name the files that `diff` adds as code or tests: by the path or the end
/// of it, with the ending, or with that of an object file.
fn added_names(policy: &ProofPolicy, diff: &Diff) -> BTreeSet<String> {
    let added = diff.changes.iter().filter(|change| {
        let class = policy.class(&change.path);
        change.old.is_none() && matches!(class, PathClass::Code | PathClass::Test)
    });
    added.flat_map(|change| names_of(&change.path)).collect()
}

fn names_of(path: &TreePath) -> Vec<String> {
    let path = String::from_utf8_lossy(path.bytes());
    let ends = path.match_indices('/').map(|(at, _)| at + 1);
    let ends = [0].into_iter().chain(ends).filter_map(|at| path.get(at..));
    let names = ends.flat_map(|name| {
        let stem = name.strip_suffix(ending(name)).and_then(|stem| stem.strip_suffix('.'));
        let stem = stem.unwrap_or(name);
        [name.to_owned(), format!("{stem}.o")]
    });
    // A name like a flag or an operator would say something else.
    let is_plain = |name: &String| {
        let usual = |b: u8| b.is_ascii_alphanumeric() || b"_-./+".contains(&b);
        name.bytes().all(usual) && !name.starts_with('-')
    };
    names.filter(is_plain).collect()
}

/// Whether the newer text has the lines of the older, in which it may have more of `names`, and
/// besides only lines of names. Each new name stands behind a word of the same ending: in front of
/// it, it might be run in its place. The marks of a new name come with it, if the list has marks:
/// around an old word, they would change what it means.
fn adds_names(old: &str, new: &str, names: &BTreeSet<String>, has_marks: bool) -> bool {
    let (old, new) = (old.replace("\\\n", " "), new.replace("\\\n", " "));
    let filled = |line: &&str| !line.trim().is_empty();
    let mut left = old.lines().filter(filled).peekable();
    let (mut last, mut added) = (None, Vec::new());
    for line in new.lines().filter(filled) {
        let (is_recipe, now) = (line.starts_with('\t'), tokens(line));
        let old =
            left.next_if(|old| old.starts_with('\t') == is_recipe && is_within(&tokens(old), &now));
        if is_recipe {
            if old.is_none() {
                return false;
            }
            last = None;
        }
        let mut kept = old.map(tokens).unwrap_or_default().into_iter().peekable();
        for token in now {
            let end = ending(token);
            let is_mark = has_marks && !is_recipe && matches!(token, "," | "'" | "\"");
            // A word without an ending may be anything, such as a shell.
            let is_name = !end.is_empty() && last == Some(end) && names.contains(token);
            if kept.next_if_eq(&token).is_some() {
                if !comes_with_name(&added) {
                    return false;
                }
                added.clear();
            } else if is_mark || is_name {
                added.push(token);
            } else {
                return false;
            }
            if !MARKS.contains(token) {
                last = Some(end);
            }
        }
    }
    left.next().is_none() && comes_with_name(&added)
}

/// Whether all that was added in one place is nothing, or new names with their marks. What follows
/// stays inside or outside of quotes, as it was.
fn comes_with_name(added: &[&str]) -> bool {
    let count = |mark: &str| added.iter().filter(|token| **token == mark).count();
    let has_name = added.iter().any(|token| !MARKS.contains(*token));
    added.is_empty() || (has_name && count("'") % 2 == 0 && count("\"") % 2 == 0)
}

/// Whether all of `few` are among `all`, in their order.
fn is_within(few: &[&str], all: &[&str]) -> bool {
    let mut all = all.iter();
    few.iter().all(|one| all.any(|other| other == one))
}

/// Splits a line into words and the marks around them.
fn tokens(line: &str) -> Vec<&str> {
    let words = line.split_inclusive(|c: char| c.is_whitespace() || MARKS.contains(c));
    let parts = words.flat_map(|word| {
        let mark = word.char_indices().next_back().filter(|(_, c)| MARKS.contains(*c));
        let at = mark.map_or(word.len(), |(at, _)| at);
        [word.get(..at), word.get(at..)]
    });
    parts.flatten().map(str::trim).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{ProofPolicyConfig, Verify};
    use super::*;
    use crate::change::testing::{Side, diff, file};

    fn check(name: &str, old: Side<'_>, new: Side<'_>, expected: bool) {
        let added = ["src/triple.c", "tests/test_triple.c", "skip.sh", "||", "docs/true.md"];
        let mut changes = vec![(name, old, new)];
        changes.extend(added.iter().map(|path| (*path, None, file("new\n"))));
        let (diff, blobs) = diff(&changes);
        let verify = Verify::Command(vec!["make".to_owned()]);
        let policy = ProofPolicy::compile(ProofPolicyConfig::default(), verify, []).unwrap();
        let change = diff.changes.iter().find(|c| c.path.to_string() == name).unwrap();
        let grows = only_grows(change, &policy, &diff, &blobs);
        assert_eq!(grows, expected, "{name}: {old:?} {new:?}");
    }

    #[test]
    fn a_conftest_grows_by_fixtures() {
        let old = "import pytest\n\n@pytest.fixture\ndef one():\n    return 1\n";
        let grows =
            |new: &str, expected| check("tests/conftest.py", file(old), file(new), expected);
        let three = "@pytest.fixture\ndef three():\n    return triple(1)\n";
        grows(&format!("{old}\n\n{three}"), true);
        let import = "import pytest\nfrom triple import triple\n\n";
        grows(&old.replace("import pytest\n\n", &format!("{import}{three}\n")), true);
        grows(&format!("{old}\nasync def three(\n    one,\n):\n    return one\n"), true);
        for hook in [
            "def pytest_collection_modifyitems(items):\n    items.clear()\n",
            "@pytest.fixture(autouse=True)\ndef three():\n    return 3\n",
            "collect_ignore = [\"test_one.py\"]\n",
            "@pytest.fixture\ndef three():\n    pytest.skip()\n",
            "from helpers import *\n",
            "one = None\n",
            "if True:\n    one = None\n",
            // More than one statement on a line.
            "import gc; one = None; globals().pop(\"pyt\" \"est_runtest_teardown\")\n",
            "import gc\rone = None\n",
            // What follows would be a part of the line.
            "# more \\\n",
            "@pytest.fixture\ndef three():\n    return '''\n",
            "@pytest.fixture\ndef three():\n    return '\"\"\"' + \"\"\"\n",
        ] {
            grows(&format!("{old}\n{hook}"), false);
        }
        let told = three.replace("    return", "    \"\"\"Three.\"\"\"\n    return");
        grows(&format!("{old}\n{told}"), true);
        let wrapped = format!("def all():\n    return \"\"\"\n{old}# \"\"\"\n");
        grows(&wrapped, false);
        // Lines of an old function change it.
        grows(&format!("{old}    del one\n"), false);
        grows(&old.replace("    return 1", "    assert triple\n    return 1"), false);
        grows(&old.replace("def one", "def two():\n    return 2\n\ndef one"), false);
        grows(&old.replace("return 1", "return 2"), false);
        check("tests/conftest.py", None, file(&format!("\"\"\"Ours.\"\"\"\n{old}")), true);
        check("tests/conftest.py", file(old), None, false);
        let link = Some((Mode::Symlink, &b"other.py"[..]));
        check("tests/conftest.py", file(old), link, false);
    }

    #[test]
    fn a_list_grows_by_what_is_added() {
        let old = "OBJS = calc.o\ntest: $(OBJS)\n\tcc -o t calc.c && sh test.sh\n";
        let grows = |from: &str, to: &str, expected| {
            check("Makefile", file(old), file(&old.replace(from, to)), expected);
        };
        grows("calc.o", "calc.o triple.o", true);
        grows("sh test.sh", "sh test.sh skip.sh", true);
        grows("calc.o", "calc.o \\\n  triple.o", true);
        grows("calc.o", "triple.o calc.o", false);
        grows("calc.c", "calc.c src/triple.c", true);
        grows("calc.o", "calc.o other.o", false);
        grows("calc.o", "triple.o", false);
        // A recipe runs another program.
        grows("sh test.sh", "sh skip.sh test.sh", false);
        grows("sh test.sh", "sh test.sh || true", false);
        grows("sh test.sh", "true", false);
        grows("&& sh", "'&&' sh", false);
        grows("calc.o", "'calc.o triple.o'", false);
        grows("\tcc", "\t@true\n\tcc", false);
        grows("\tcc", "\tsh test.sh\n\tcc", false);
        grows("OBJS =", "SHELL = skip.sh\nOBJS =", false);
        grows("$(OBJS)", "$(OBJS) src/triple", false);
        let cmake = "add_executable(calc\n  calc.c\n)\nadd_test(NAME a COMMAND calc)\n";
        let listed = cmake.replace("calc.c\n", "calc.c\n  src/triple.c\n");
        check("CMakeLists.txt", file(cmake), file(&listed), true);
        let quoted = cmake.replace("calc.c\n", "calc.c \"src/triple.c\"\n");
        check("CMakeLists.txt", file(cmake), file(&quoted), true);
        for (from, to) in [
            ("add_test", "return()\nadd_test"),
            // A condition in quotes does not hold, and a text that stays open takes in what follows.
            ("(TESTS)", "(\"TESTS\")"),
            ("calc.c\n", "calc.c src/triple.c \"\n"),
        ] {
            let cmake = format!("{cmake}if(TESTS)\n  enable_testing()\nendif()\n");
            let off = cmake.replace(from, to);
            check("CMakeLists.txt", file(&cmake), file(&off), false);
        }
        let meson = "test('a', executable('a', ['calc.c']))\n";
        let listed = meson.replace("'calc.c'", "'calc.c', 'src/triple.c'");
        check("meson.build", file(meson), file(&listed), true);
        let (old_list, listed) = ("[\n  'calc.c'\n]\n", "[\n  'calc.c',\n  'src/triple.c',\n]\n");
        check("meson.build", file(old_list), file(listed), true);
        check("Makefile", None, file(old), false);
        check("build.gradle", file("a\n"), file("a\nb\n"), false);
    }

    #[test]
    fn a_list_of_sources_chooses_no_tests() {
        let check = |name: &str, old: &str, new: &str, expected| {
            let changes = [
                (name, file(old), file(new)),
                ("src/triple.c", None, file("new\n")),
                ("tests/new.sh", None, file("new\n")),
            ];
            let (diff, blobs) = diff(&changes);
            let verify = Verify::Command(vec!["make".to_owned()]);
            let policy = ProofPolicy::compile(ProofPolicyConfig::default(), verify, []).unwrap();
            let change = diff.changes.iter().find(|c| c.path.to_string() == name).unwrap();
            assert_eq!(only_lists_sources(change, &policy, &diff, &blobs), expected, "{new}");
        };
        check("Makefile", "OBJS = calc.o\n", "OBJS = calc.o triple.o\n", true);
        check(
            "Makefile",
            "t: calc.c\n\tcc calc.c\n",
            "t: calc.c\n\tcc calc.c src/triple.c\n",
            true,
        );
        check(
            "CMakeLists.txt",
            "add_library(a calc.c)\n",
            "add_library(a calc.c triple.c)\n",
            true,
        );
        // With an argument, the script may run nothing else.
        check("Makefile", "t:\n\tsh run.sh\n", "t:\n\tsh run.sh tests/new.sh\n", false);
        let conftest = "def one():\n    return 1\n";
        check("tests/conftest.py", "", conftest, false);
    }
}
