//! Sets of path patterns, compiled once.
//!
//! `*` does not cross a `/`, `**` does. Patterns see a path's bytes. Used by
//! `guardrails` and `proof`, which say whether a matched folder covers what it holds.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::change::TreePath;

/// A pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{list}: the pattern {pattern:?} cannot be used: {why}")]
pub struct GlobError {
    /// The setting that it stands in.
    pub list: &'static str,
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

/// Compiled patterns.
#[derive(Debug, Clone)]
pub(crate) struct Globs(GlobSet);

impl Globs {
    /// Compiles the patterns of the setting `list`.
    pub(crate) fn compile<T: AsRef<str>>(
        list: &'static str,
        patterns: &[T],
    ) -> Result<Self, GlobError> {
        Self::build(list, patterns, false)
    }

    /// As [`Globs::compile`], without regard to case.
    pub(crate) fn compile_any_case<T: AsRef<str>>(
        list: &'static str,
        patterns: &[T],
    ) -> Result<Self, GlobError> {
        Self::build(list, patterns, true)
    }

    fn build<T: AsRef<str>>(
        list: &'static str,
        patterns: &[T],
        any_case: bool,
    ) -> Result<Self, GlobError> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let glob = GlobBuilder::new(pattern)
                .literal_separator(true)
                .case_insensitive(any_case)
                .build()
                .map_err(|e| GlobError {
                    list,
                    pattern: pattern.to_owned(),
                    why: e.kind().to_string(),
                })?;
            set.add(glob);
        }
        let set = set.build().map_err(|e| GlobError {
            list,
            pattern: e.glob().unwrap_or("").to_owned(),
            why: e.kind().to_string(),
        })?;
        Ok(Self(set))
    }

    /// Whether the path itself matches.
    pub(crate) fn matches(&self, path: &TreePath) -> bool {
        self.0.is_match_candidate(&Candidate::from_bytes(path.bytes()))
    }

    /// Whether the path, or a folder that holds it, matches.
    pub(crate) fn covers(&self, path: &TreePath) -> bool {
        self.matches(path)
            || path.folders().any(|f| self.0.is_match_candidate(&Candidate::from_bytes(f)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_in_its_folder_and_a_folder_may_cover() {
        let globs = Globs::compile("x", &["**/test_*", ".ci*"]).unwrap();
        let check = |path: &[u8]| {
            let path = TreePath::new(path).unwrap();
            (globs.matches(&path), globs.covers(&path))
        };
        assert_eq!(check(b"test_a"), (true, true));
        assert_eq!(check(b"a/b/test_a.rs"), (true, true));
        assert_eq!(check(b"test_a/b.rs"), (false, true));
        assert_eq!(check(b".ci/build.yml"), (false, true));
        assert_eq!(check(b"test_\xff"), (true, true));
        assert_eq!(check(b"a.rs"), (false, false));
        let bad = Globs::compile("deny", &["a{b"]).unwrap_err();
        assert!(bad.to_string().starts_with("deny: the pattern \"a{b\""), "{bad}");
    }
}
