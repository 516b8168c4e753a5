//! Whether the agent's first commit can serve as the test of its change.
//!
//! Used if tests cannot be told from code by path (inline modules). The first commit must only add
//! lines, and the candidate must still have them; otherwise the agent could make the base fail and
//! the candidate pass at will. An import that names more than before counts as added. Whether the
//! lines still stand as code, and not in a comment, is found out by running the candidate with them
//! made unreadable ([`silenced`]); one at least must be such that this says something. Whether the
//! added lines really are a test cannot be checked, which is why such a proof is called weaker.

use serde::{Deserialize, Serialize};

use super::PathClass;
use super::policy::ProofPolicy;
use super::test_changes::has_words;
use super::trees::{Written, counts, documentation, silence};
use crate::change::{
    Blobs, Change, Diff, Entry, Mode, TreePath, added_lines, is_subsequence, lines, removed_lines,
};

/// Why the first commit cannot serve as the test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum SplitFault {
    /// The first commit adds no line of its own.
    #[error(
        "the first commit adds no line of its own, but at most comments, brackets, and lines that \
         the code has, too"
    )]
    AddsNothing,
    /// The first commit deletes or changes a line.
    #[error("the first commit deletes or changes a line of {path}")]
    DeletesLine {
        /// The file.
        path: TreePath,
    },
    /// The first commit adds a line that the candidate lacks.
    #[error("a line that the first commit adds to {path} is no longer in the candidate")]
    LineGone {
        /// The file.
        path: TreePath,
    },
    /// The content of a file could not be read.
    #[error("the content of {path} could not be read")]
    Unreadable {
        /// The file.
        path: TreePath,
    },
}

/// Checks the first commit. Protected and judge files are skipped: they are not part of the test.
pub(super) fn check(
    policy: &ProofPolicy,
    first: &Diff,
    diff: &Diff,
    blobs: &Blobs,
) -> Result<(), SplitFault> {
    for change in &first.changes {
        if !is_own(policy, &change.path) {
            continue;
        }
        let added = added(change, blobs)?;
        let candidate = match candidate_of(change, diff) {
            None => &b""[..],
            Some(entry) => blobs
                .content(entry)
                .ok_or_else(|| SplitFault::Unreadable { path: change.path.clone() })?,
        };
        if !is_subsequence(&added, &lines(candidate)) {
            return Err(SplitFault::LineGone { path: change.path.clone() });
        }
    }
    if silenced(policy, first, diff, blobs).is_empty() {
        return Err(SplitFault::AddsNothing);
    }
    Ok(())
}

/// Returns the candidate's files with the first commit's own lines made unreadable. Lines that also
/// stand elsewhere in the file, or stood there before, are left as they are, and so are brackets
/// and comments: without a `}` no file can be read, whether or not it has a test.
pub(super) fn silenced(
    policy: &ProofPolicy,
    first: &Diff,
    diff: &Diff,
    blobs: &Blobs,
) -> Vec<Written> {
    let one = |change: &Change| {
        let entry = candidate_of(change, diff)?;
        let mode @ (Mode::Regular | Mode::Executable) = entry.mode else { return None };
        let (added, content) = (added(change, blobs).ok()?, blobs.content(entry)?);
        let old = change.old.as_ref().and_then(|old| blobs.content(old)).unwrap_or_default();
        let (added, all, old) = (counts(added), counts(lines(content)), counts(lines(old)));
        let own = |line: &[u8]| {
            let may_test = has_words(line) || may_be_documented_test(line);
            let is_alone = added.get(line).is_some_and(|times| all.get(line) == Some(times));
            may_test && is_alone && !old.contains_key(line)
        };
        Some((change.path.clone(), mode, silence(content, own)?))
    };
    first.changes.iter().filter(|change| is_own(policy, &change.path)).filter_map(one).collect()
}

/// Whether the line is documentation that may be a line of a test, and not the fence around it.
fn may_be_documented_test(line: &[u8]) -> bool {
    documentation(line).is_some_and(|(_, text)| {
        let text = text.trim_ascii();
        !(text.is_empty() || text.starts_with(b"```") || text.starts_with(b"~~~"))
    })
}

/// Whether the first commit's version of `path` is part of its test.
fn is_own(policy: &ProofPolicy, path: &TreePath) -> bool {
    match policy.class(path) {
        PathClass::Protected | PathClass::Judge => false,
        PathClass::Test | PathClass::Exempt | PathClass::Code => true,
    }
}

/// Returns the candidate's entry at the path of a change of the first commit.
fn candidate_of<'a>(change: &'a Change, diff: &'a Diff) -> Option<&'a Entry> {
    match diff.changes.iter().find(|c| c.path == change.path) {
        Some(change) => change.new.as_ref(),
        None => change.old.as_ref(),
    }
}

/// Returns the lines that the first commit adds at this path, without blank ones: a formatter may
/// remove those again, and they test nothing.
fn added<'a>(change: &Change, blobs: &'a Blobs) -> Result<Vec<&'a [u8]>, SplitFault> {
    let path = || change.path.clone();
    let content = |entry: Option<&Entry>| match entry {
        None => Ok(&b""[..]),
        Some(entry) => blobs.content(entry).ok_or_else(|| SplitFault::Unreadable { path: path() }),
    };
    let deletes = || SplitFault::DeletesLine { path: path() };
    let new = content(Some(change.new.as_ref().ok_or_else(deletes)?))?;
    let old = without_grown_imports(content(change.old.as_ref())?, new);
    let mut added = added_lines(&old, new).ok_or_else(deletes)?;
    added.retain(|line| !line.trim_ascii().is_empty());
    Ok(added)
}

/// Returns `old` without the imports that `new` has with more names, so that these count as added.
pub(super) fn without_grown_imports(old: &[u8], new: &[u8]) -> Vec<u8> {
    let imports = |line: &&[u8]| is_import(line);
    let gone: Vec<&[u8]> = removed_lines(old, new).into_iter().filter(imports).collect();
    let mut grown: Vec<&[u8]> = removed_lines(new, old).into_iter().filter(imports).collect();
    let mut kept = Vec::with_capacity(old.len());
    for line in lines(old) {
        let more = |new: &&[u8]| names(line).iter().all(|name| names(new).contains(name));
        let at = if is_import(line) && gone.contains(&line) {
            grown.iter().position(more)
        } else {
            None
        };
        if let Some(at) = at {
            grown.remove(at);
        } else {
            kept.extend_from_slice(line);
            kept.push(b'\n');
        }
    }
    kept
}

fn is_import(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    [&b"use "[..], b"pub use ", b"pub(crate) use ", b"import ", b"from "]
        .iter()
        .any(|word| line.starts_with(word))
}

/// The identifiers of a line.
fn names(line: &[u8]) -> Vec<&[u8]> {
    let cut = |byte: &u8| !(byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'*');
    line.split(cut).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{ProofPolicyConfig, Verify};
    use super::*;
    use crate::change::testing::{Side, diff, file};

    #[test]
    fn only_an_honest_split_is_taken() {
        let policy = ProofPolicy::compile(
            ProofPolicyConfig::default(),
            Verify::Command(vec!["x".into()]),
            [],
        )
        .unwrap();
        let check = |base: Side<'_>, first: Side<'_>, candidate: Side<'_>| {
            let (first, mut blobs) = diff(&[("src/a.rs", base, first)]);
            let (all, more) = diff(&[("src/a.rs", base, candidate)]);
            for entry in all.changes.iter().filter_map(|c| c.new.as_ref()) {
                if let Some(blob) = more.get(entry) {
                    blobs.insert(entry.oid.clone(), blob.clone());
                }
            }
            super::check(&policy, &first, &all, &blobs)
        };
        let path = || TreePath::new(b"src/a.rs").unwrap();
        let base = file("fn f() -> u8 { 1 }\n");
        let first = file("fn f() -> u8 { 1 }\n\n#[test]\nfn t() { assert_eq!(f(), 2) }\n");
        let honest = file("fn f() -> u8 { 2 }\n#[test]\nfn t() { assert_eq!(f(), 2) }\n");
        assert_eq!(check(base, first, honest), Ok(()));
        assert_eq!(check(None, first, first), Ok(()));

        let edits_code = file("fn f() -> u8 { 0 }\n#[test]\nfn t() { assert_eq!(f(), 2) }\n");
        let deletes = Err(SplitFault::DeletesLine { path: path() });
        assert_eq!(check(base, edits_code, honest), deletes);
        assert_eq!(check(base, None, honest), deletes);

        let weakened = file("fn f() -> u8 { 2 }\n#[test]\nfn t() { assert_eq!(f(), f()) }\n");
        let gone = Err(SplitFault::LineGone { path: path() });
        assert_eq!(check(base, first, weakened), gone);
        assert_eq!(check(base, first, None), gone);

        let blank = file("fn f() -> u8 { 1 }\n\n");
        assert_eq!(check(base, blank, honest), Err(SplitFault::AddsNothing));
        // It does not build, but nothing of it is a test.
        let base = file("f {\n}\ng {\n}\n");
        let edited = file("f {\n1\n}\ng {\n}\n// a test\n");
        for stray in ["}\n", "g {\n", "}\n// a test\n"] {
            let first = format!("f {{\n}}\ng {{\n}}\n{stray}");
            let found = check(base, file(&first), edited);
            assert_eq!(found, Err(SplitFault::AddsNothing), "{stray}");
        }
        let found = check(file("f\n"), file("f\n}\n"), file("g {\n}\n"));
        assert_eq!(found, Err(SplitFault::AddsNothing));
        let documented = file("/// ```\n/// t(1)\n/// ```\nf {\n}\ng {\n}\n");
        assert_eq!(check(base, documented, documented), Ok(()));

        // An import that names more counts as added; one that names something else is a change.
        let base = file("use super::{a, b};\nfn t() {}\n");
        let grown = file("use super::{a, b, c};\nfn t() {}\nfn u() { c() }\n");
        assert_eq!(check(base, grown, grown), Ok(()));
        let other = file("use super::{a, c};\nfn t() {}\nfn u() { c() }\n");
        assert_eq!(check(base, other, other), deletes);
        let code = file("a(b);\n");
        assert_eq!(check(code, file("a(b, c);\n"), file("a(b, c);\n")), deletes);
    }

    #[test]
    fn lines_of_the_first_commit_are_silenced_where_they_stand_alone() {
        let policy = ProofPolicy::compile(
            ProofPolicyConfig::default(),
            Verify::Command(vec!["x".into()]),
            [],
        )
        .unwrap();
        let silenced = |base: &str, first: &str, candidate: &str| {
            let (first, mut blobs) = diff(&[("src/a.rs", file(base), file(first))]);
            let (all, more) = diff(&[("src/a.rs", file(base), file(candidate))]);
            for entry in all.changes.iter().filter_map(|c| c.new.as_ref()) {
                blobs.insert(entry.oid.clone(), more.get(entry).unwrap().clone());
            }
            let written = super::silenced(&policy, &first, &all, &blobs);
            written
                .into_iter()
                .map(|(_, _, text)| String::from_utf8(text).unwrap())
                .collect::<Vec<_>>()
        };
        let text = silenced("f\n}\n", "f\n}\ntest\n}\n", "g\n}\ntest\n}\n");
        assert_eq!(text, ["g\n}\n@)]}>`\n}\n"]);
        // A line in a comment is made unreadable, too, and then is not run.
        assert_eq!(silenced("f\n", "f\nt\n", "f\n/*\nt\n*/\n"), ["f\n/*\n@)]}>`\n*/\n"]);
        assert!(silenced("f\n}\n", "f\n}\n}\n", "f\n}\n}\n").is_empty());
        // Without these lines, too, the file could not be read.
        assert!(silenced("f\n", "f\n}\n", "g\n}\n").is_empty());
        assert!(silenced("f\ng\n", "f\ng\ng\n", "g\n").is_empty());
        assert!(silenced("f\n", "f\n// t\n", "g\n// t\n").is_empty());
        // Documentation stays a comment, with its test unreadable.
        let example = "/// ```\n/// t(1)\n/// ```\n";
        let text = silenced("f\n", &format!("{example}f\n"), &format!("{example}g\n"));
        assert_eq!(text, ["/// ```\n///@)]}>`\n/// ```\ng\n"]);
    }
}
