//! Sets of path patterns, compiled once.
//!
//! `*` does not cross a `/`, `**` does. Patterns match a path's bytes. `guardrails` and `proof` use
//! them, and decide whether a matched folder covers its contents.
//!
//! Compiling a set takes milliseconds, and most repos use the same few sets, so compiled sets are
//! cached for the whole process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use globset::{Candidate, ErrorKind, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::change::TreePath;

/// A malformed pattern, identified by its position, because its text may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{list}: pattern {} cannot be used: {why}", nth + 1)]
pub struct GlobError {
    /// The setting that contains the pattern.
    pub list: &'static str,
    /// The pattern's index in that setting, from 0.
    pub nth: usize,
    /// What is wrong with the pattern.
    pub why: String,
}

/// How many compiled sets are cached; the next one empties the cache.
const KEPT: usize = 256;

/// A compiled set of patterns.
#[derive(Debug, Clone)]
pub(crate) struct Globs(Arc<GlobSet>);

/// The cached sets, by whether case is ignored and by their patterns.
type Compiled = HashMap<(bool, Vec<String>), Globs>;

fn compiled() -> std::sync::MutexGuard<'static, Compiled> {
    static COMPILED: OnceLock<Mutex<Compiled>> = OnceLock::new();
    COMPILED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Globs {
    /// Compiles the patterns of the setting `list`.
    pub(crate) fn compile<T: AsRef<str>>(
        list: &'static str,
        patterns: &[T],
    ) -> Result<Self, GlobError> {
        Self::build(list, patterns, false)
    }

    /// As [`Globs::compile`], but ignoring case.
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
        let key = (any_case, patterns.iter().map(|one| one.as_ref().to_owned()).collect());
        if let Some(known) = compiled().get(&key) {
            return Ok(known.clone());
        }
        let mut set = GlobSetBuilder::new();
        for (nth, pattern) in patterns.iter().enumerate() {
            let glob = GlobBuilder::new(pattern.as_ref())
                .literal_separator(true)
                .case_insensitive(any_case)
                .build()
                .map_err(|error| GlobError { list, nth, why: why(error.kind()) })?;
            set.add(glob);
        }
        let set = set.build().map_err(|error| {
            let is_it = |pattern: &T| Some(pattern.as_ref()) == error.glob();
            let nth = patterns.iter().position(is_it).unwrap_or_default();
            GlobError { list, nth, why: why(error.kind()) }
        })?;
        let globs = Self(Arc::new(set));
        let mut kept = compiled();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, globs.clone());
        Ok(globs)
    }

    /// Whether the path itself matches.
    pub(crate) fn matches(&self, path: &TreePath) -> bool {
        self.0.is_match_candidate(&Candidate::from_bytes(path.bytes()))
    }

    /// Whether the path or a folder that contains it matches. A path that would match with a slash
    /// at its end counts, too: `X/**` covers a link `X`, because whatever the link leads to is then
    /// found below `X`.
    pub(crate) fn covers(&self, path: &TreePath) -> bool {
        let is_match = |bytes: &[u8]| self.0.is_match_candidate(&Candidate::from_bytes(bytes));
        self.matches(path)
            || is_match(&[path.bytes(), b"/"].concat())
            || path.folders().any(is_match)
    }
}

/// Says what is wrong with a pattern, without quoting it.
fn why(kind: &ErrorKind) -> String {
    if matches!(kind, ErrorKind::Regex(_)) {
        "it is too large or malformed".to_owned()
    } else if matches!(kind, ErrorKind::InvalidRange(..)) {
        "a range in it ends before it begins".to_owned()
    } else {
        kind.to_string()
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
    }

    #[test]
    fn what_covers_a_folder_covers_a_link_of_its_name() {
        let patterns = ["a/**", "**/.b/**", "{c/d,.e}/**", "**/f/", "g*/**"];
        let globs = Globs::compile("x", &patterns).unwrap();
        let check = |path: &[u8]| {
            let path = TreePath::new(path).unwrap();
            (globs.matches(&path), globs.covers(&path))
        };
        for link in [&b"a"[..], b".b", b"x/.b", b"c/d", b".e", b"f", b"x/f", b"g1"] {
            assert_eq!(check(link), (false, true), "{}", link.escape_ascii());
        }
        for inside in [&b"a/x"[..], b"x/.b/y", b"c/d/x", b".e/x/y", b"g1/x"] {
            assert_eq!(check(inside), (true, true), "{}", inside.escape_ascii());
        }
        for other in [&b"ab"[..], b"x/a", b".bb", b"c", b"d", b"x/.e", b"f/x", b"ff"] {
            assert_eq!(check(other), (false, false), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn a_pattern_that_is_none_is_told_by_its_place_and_not_repeated() {
        for bad in ["hunter2{b", "hunter2[", "[z-a]hunter2", "hunter2}"] {
            let error = Globs::compile("deny", &["**", bad]).unwrap_err();
            assert!(error.to_string().starts_with("deny: pattern 2 cannot be used: "), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
