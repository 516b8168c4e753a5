//! Which code files lose tests in a change.
//!
//! Called by `before` and `report`. Tests among the code (Rust's inline modules, Django's
//! `tests.py`) cannot be put back by path, so no run shows whether they still hold. But a test that
//! is gone can be missed by its name: that of the function after a test attribute of Rust, or that
//! of a test function of Python. A test that merely moved is not lost: code and test files together
//! must have fewer tests of its name than before. What a test demands is not compared.

use std::sync::OnceLock;

use regex::bytes::Regex;

use super::classes::PathClass;
use super::policy::ProofPolicy;
use super::test_changes::is_comment;
use super::trees::counts;
use crate::change::{Blobs, Change, Diff, Entry, TreePath, lines};

/// An attribute that makes a function of Rust a test: `#[test]`, `#[tokio::test(…)]`, `#[rstest]`.
const ATTRIBUTE: &str = r"(?-u)^(?:#\[[^\]]*\]\s*)*#\[\s*(?:\w+\s*::\s*)*\w*test(?:_case)?\b";
/// The name of a function of Rust.
const FUNCTION: &str = r"(?-u)\bfn\s+([^\s(<]+)";
/// The name of a test of Python.
const PYTHON: &str = r"(?-u)^(?:async\s+)?def\s+(test[_A-Z0-9]\w*)";

struct Shapes {
    attribute: Regex,
    function: Regex,
    python: Regex,
}

/// Returns the code files that have lost tests in `diff`, in path order.
pub(super) fn losing_tests<'a>(
    policy: &'a ProofPolicy,
    diff: &'a Diff,
    blobs: &Blobs,
) -> Vec<&'a TreePath> {
    let may_be_run =
        |change: &&Change| matches!(policy.class(&change.path), PathClass::Code | PathClass::Test);
    let all: Vec<&Change> = diff.changes.iter().filter(may_be_run).collect();
    let before = counts(all.iter().flat_map(|change| names(change.old.as_ref(), blobs)));
    let after = counts(all.iter().flat_map(|change| names(change.new.as_ref(), blobs)));
    let loses = |change: &&Change| {
        let old = counts(names(change.old.as_ref(), blobs));
        let new = counts(names(change.new.as_ref(), blobs));
        old.keys()
            .any(|name| new.get(*name) < old.get(*name) && after.get(*name) < before.get(*name))
    };
    policy.of_class(diff, PathClass::Code).filter(loses).map(|change| &change.path).collect()
}

/// Returns the names of the tests of a file, each as often as it occurs.
fn names<'a>(entry: Option<&Entry>, blobs: &'a Blobs) -> Vec<&'a [u8]> {
    let Some(shapes) = shapes() else { return Vec::new() };
    let content = entry.and_then(|entry| blobs.content(entry)).unwrap_or_default();
    let mut names = Vec::new();
    let mut is_marked = false;
    for line in lines(content).into_iter().map(<[u8]>::trim_ascii) {
        if is_comment(line) {
            continue;
        }
        is_marked |= shapes.attribute.is_match(line);
        let shape = if is_marked { &shapes.function } else { &shapes.python };
        if let Some(name) = shape.captures(line).and_then(|groups| groups.get(1)) {
            names.push(name.as_bytes());
            is_marked = false;
        }
    }
    names
}

fn shapes() -> Option<&'static Shapes> {
    static SHAPES: OnceLock<Option<Shapes>> = OnceLock::new();
    // The patterns are built in, and a test compiles them.
    let compile = || {
        let (attribute, function) = (Regex::new(ATTRIBUTE).ok()?, Regex::new(FUNCTION).ok()?);
        Some(Shapes { attribute, function, python: Regex::new(PYTHON).ok()? })
    };
    SHAPES.get_or_init(compile).as_ref()
}

#[cfg(test)]
mod tests {
    use super::super::{ProofPolicyConfig, Verify};
    use super::*;
    use crate::change::testing::{Side, diff, file};

    #[test]
    fn a_test_that_is_nowhere_any_more_is_missed() {
        let verify = Verify::Command(vec!["make".to_owned()]);
        let policy = ProofPolicy::compile(ProofPolicyConfig::default(), verify, []).unwrap();
        let losing = |changes: &[(&str, Side<'_>, Side<'_>)]| {
            let (diff, blobs) = diff(changes);
            let found = losing_tests(&policy, &diff, &blobs);
            found.into_iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let test = "#[test]\nfn a() {}\n";
        let lost = ["src/a.rs".to_owned()];
        for old in [
            test,
            "    #[test]\n    #[should_panic]\n    // The fn of a.\n\n    fn a() {}\n",
            "#[test] fn a() {}\n",
            "#[cfg(unix)] #[test]\nfn a() {}\n",
            "#[tokio::test(flavor = \"multi_thread\")]\nasync fn a() {}\n",
            "#[rstest]\n#[case(1)]\nfn a(#[case] n: u8) {}\n",
            "#[test_case(1 ; \"one\")]\n#[test_case(2)]\nfn a(n: u8) {}\n",
            "    def test_a(self):\n",
            "async def testA():\n",
        ] {
            let whole = format!("{old}fn b() {{}}\n");
            assert_eq!(losing(&[("src/a.rs", file(&whole), file("fn b() {}\n"))]), lost, "{old}");
            assert_eq!(losing(&[("src/a.rs", file(&whole), None)]), lost, "{old}");
            assert_eq!(losing(&[("src/a.rs", file(&whole), file(&whole))]).len(), 0, "{old}");
        }
        let renamed = test.replace("a()", "b()");
        for new in ["fn a() {}\n", "// #[test]\n// fn a() {}\n", &*renamed] {
            assert_eq!(losing(&[("src/a.rs", file(test), file(new))]), lost, "{new}");
        }
        for plain in ["fn a() {}\n", "#[cfg(test)]\nmod a {}\n", "def testing():\n"] {
            assert_eq!(losing(&[("src/a.rs", file(plain), None)]).len(), 0, "{plain}");
        }
        // No default pattern matches these files of tests.
        for path in ["polls/tests.py", "src/foo/tests.rs"] {
            assert_eq!(losing(&[(path, file(test), None)]), [path]);
        }

        let gone = ("src/a.rs", file(test), None);
        for to in ["tests/a.rs", "src/b.rs"] {
            assert_eq!(losing(&[gone, (to, None, file(test))]).len(), 0, "{to}");
            assert_eq!(losing(&[gone, (to, None, file("fn a() {}\n"))]), lost, "{to}");
            // Another test that has the same name was there before.
            let more = format!("{test}fn b() {{}}\n");
            assert_eq!(losing(&[gone, (to, file(test), file(&more))]), lost, "{to}");
        }
        assert_eq!(losing(&[gone, ("docs/a.rs", None, file(test))]), lost);
        let twice = format!("{test}{test}");
        assert_eq!(losing(&[("src/a.rs", file(&twice), file(test))]), lost);
    }
}
