//! Whether the agent's first commit can serve as the test of its change.
//!
//! Used if tests cannot be told from code by path (inline modules). The first commit must only add
//! lines, and the candidate must still have them; otherwise the agent could make the two fail and
//! pass at will. Whether the rest is honest cannot be checked, which is why such a proof is called
//! weaker.

use serde::{Deserialize, Serialize};

use super::PathClass;
use super::policy::ProofPolicy;
use crate::change::{Blobs, Change, Diff, Entry, TreePath, added_lines, is_subsequence, lines};

/// Why the first commit cannot serve as the test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum SplitFault {
    /// It adds no line.
    #[error("the first commit adds no line")]
    AddsNothing,
    /// It deletes or changes a line.
    #[error("the first commit deletes or changes a line of {path}")]
    DeletesLine {
        /// Where.
        path: TreePath,
    },
    /// It added a line that the candidate lacks.
    #[error("a line that the first commit adds to {path} is no longer in the candidate")]
    LineGone {
        /// Where.
        path: TreePath,
    },
    /// A content could not be read.
    #[error("the content of {path} could not be read")]
    Unreadable {
        /// Where.
        path: TreePath,
    },
}

/// Checks rule by rule; protected paths are skipped, because they come from the base.
pub(super) fn check(
    policy: &ProofPolicy,
    first: &Diff,
    diff: &Diff,
    blobs: &Blobs,
) -> Result<(), SplitFault> {
    let mut adds = false;
    for change in &first.changes {
        if policy.class(&change.path) == PathClass::Protected {
            continue;
        }
        adds |= check_path(change, diff, blobs)?;
    }
    if adds { Ok(()) } else { Err(SplitFault::AddsNothing) }
}

/// Whether the first commit adds a line at this path.
fn check_path(change: &Change, diff: &Diff, blobs: &Blobs) -> Result<bool, SplitFault> {
    let path = || change.path.clone();
    let content = |entry: Option<&Entry>| match entry {
        None => Ok(&b""[..]),
        Some(entry) => blobs.content(entry).ok_or_else(|| SplitFault::Unreadable { path: path() }),
    };
    let Some(new) = &change.new else {
        return Err(SplitFault::DeletesLine { path: path() });
    };
    let added = added_lines(content(change.old.as_ref())?, content(Some(new))?)
        .ok_or_else(|| SplitFault::DeletesLine { path: path() })?;
    // A formatter may remove an empty line again; it tests nothing.
    let added: Vec<&[u8]> =
        added.into_iter().filter(|line| !line.trim_ascii().is_empty()).collect();
    let candidate = match diff.changes.iter().find(|c| c.path == change.path) {
        Some(change) => change.new.as_ref(),
        None => change.old.as_ref(),
    };
    if is_subsequence(&added, &lines(content(candidate)?)) {
        Ok(!added.is_empty())
    } else {
        Err(SplitFault::LineGone { path: path() })
    }
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
    }
}
