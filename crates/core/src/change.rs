//! A change to a tree as data: which paths, with their old and new entries.
//!
//! A change is read from git's raw tree diff, never from a textual one, in which an attribute can
//! hide content. `guardrails` and `proof` judge it; the git adapter fills in [`Blobs`]. Paths are
//! bytes, as in git, and are stored without loss. Nothing here knows a policy.

mod lines;
mod path;

pub use lines::{Tally, added_lines, common_lines, is_subsequence, lines, removed_lines, tally};
pub use path::TreePath;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::Oid;

/// The kind of a tree entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A plain file, 100644.
    Regular,
    /// An executable file, 100755.
    Executable,
    /// A symbolic link, 120000; its blob is the target.
    Symlink,
    /// A link to a commit of another repository, 160000; it has no blob here.
    Submodule,
}

impl Mode {
    /// Returns the mode as git writes it.
    pub const fn octal(self) -> &'static str {
        match self {
            Self::Regular => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Submodule => "160000",
        }
    }

    /// Whether the entry's content is a blob of this repository.
    pub const fn has_blob(self) -> bool {
        match self {
            Self::Regular | Self::Executable | Self::Symlink => true,
            Self::Submodule => false,
        }
    }

    fn parse(octal: &[u8]) -> Option<Self> {
        match octal {
            // Very old versions of git wrote 100664 for a regular file.
            b"100644" | b"100664" => Some(Self::Regular),
            b"100755" => Some(Self::Executable),
            b"120000" => Some(Self::Symlink),
            b"160000" => Some(Self::Submodule),
            _ => None,
        }
    }
}

/// An entry at a path of a tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The kind of the entry.
    pub mode: Mode,
    /// The id of its content: a blob, or for a submodule a commit.
    pub oid: Oid,
}

/// One path that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The path.
    pub path: TreePath,
    /// The old entry; `None` if the path is new.
    pub old: Option<Entry>,
    /// The new entry; `None` if the path was deleted.
    pub new: Option<Entry>,
}

/// All paths that differ between two trees, in path order, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Diff {
    /// The changes, in path order.
    pub changes: Vec<Change>,
}

/// A malformed raw diff.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiffError {
    /// A record is not `:mode mode oid oid status` and a path, each ended by a NUL.
    #[error("record {record} of the raw tree diff is malformed: {why}")]
    Malformed {
        /// The number of the record, from 1.
        record: usize,
        /// What is wrong with the record.
        why: &'static str,
    },
    /// The same path occurs twice, which git never prints.
    #[error("the raw tree diff names {path} twice")]
    Twice {
        /// The path.
        path: TreePath,
    },
}

impl Diff {
    /// Parses the output of `git diff-tree -r -z --raw --no-renames <tree> <tree>`.
    pub fn parse(raw: &[u8]) -> Result<Self, DiffError> {
        let mut fields = raw.split(|b| *b == 0);
        let mut changes = BTreeMap::new();
        for record in 1.. {
            let bad = |why| DiffError::Malformed { record, why };
            let (head, path) = match (fields.next(), fields.next()) {
                // After the last NUL, or for empty output.
                (Some(b"") | None, None) => break,
                (Some(head), Some(path)) => (head, path),
                (Some(_), None) | (None, _) => return Err(bad("the path is missing")),
            };
            let change = parse_record(head, path).map_err(bad)?;
            if let Some(twice) = changes.insert(change.path.clone(), change) {
                return Err(DiffError::Twice { path: twice.path });
            }
        }
        Ok(Self { changes: changes.into_values().collect() })
    }

    /// Keeps only the changes at paths that `other` changes, too. Applied to a merge's diffs
    /// against each of its parents, this leaves what the merge itself changed.
    #[must_use]
    pub fn also_in(mut self, other: &Self) -> Self {
        let at = |change: &Change| other.changes.binary_search_by(|c| c.path.cmp(&change.path));
        self.changes.retain(|change| at(change).is_ok());
        self
    }

    /// Returns the ids of all blobs that judging this diff may read, each once.
    pub fn blobs(&self) -> BTreeSet<Oid> {
        let sides = self.changes.iter().flat_map(|c| [&c.old, &c.new]);
        sides.flatten().filter(|e| e.mode.has_blob()).map(|e| e.oid.clone()).collect()
    }
}

fn parse_record(head: &[u8], path: &[u8]) -> Result<Change, &'static str> {
    let head = head.strip_prefix(b":").ok_or("it does not start with a colon")?;
    let parts: Vec<&[u8]> = head.split(|b| *b == b' ').collect();
    let [old_mode, new_mode, old_oid, new_oid, status] = parts[..] else {
        return Err("it does not have five fields");
    };
    let old = parse_entry(old_mode, old_oid)?;
    let new = parse_entry(new_mode, new_oid)?;
    let fits = match (&old, &new) {
        (None, None) => false,
        (None, Some(_)) => status == b"A",
        (Some(_), None) => status == b"D",
        (Some(old), Some(new)) => old != new && matches!(status, b"M" | b"T"),
    };
    if !fits {
        return Err("its status does not fit its modes (were renames off?)");
    }
    let path = TreePath::new(path).ok_or("its path is empty")?;
    Ok(Change { path, old, new })
}

fn parse_entry(mode: &[u8], oid: &[u8]) -> Result<Option<Entry>, &'static str> {
    let text = str::from_utf8(oid).map_err(|_| "an object id is not hex")?;
    let oid: Oid = text.parse().map_err(|_| "an object id is not full hex")?;
    let zero = text.bytes().all(|b| b == b'0');
    match (mode, zero) {
        (b"000000", true) => Ok(None),
        (b"000000", false) => Err("nothing has an object id"),
        (_, true) => Err("an entry has no object id"),
        (_, false) => {
            let mode = Mode::parse(mode).ok_or("a mode is not one that a file can have")?;
            Ok(Some(Entry { mode, oid }))
        }
    }
}

/// A blob, or only its size if it is too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blob {
    /// The whole content.
    Content(Vec<u8>),
    /// Too large to be read; only its size in bytes is known.
    Oversize(u64),
}

impl Blob {
    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Content(bytes) => bytes.len() as u64,
            Self::Oversize(size) => *size,
        }
    }

    /// Returns the content, if it was read.
    pub fn content(&self) -> Option<&[u8]> {
        match self {
            Self::Content(bytes) => Some(bytes),
            Self::Oversize(_) => None,
        }
    }
}

/// The blobs that a diff names ([`Diff::blobs`]), by id; one that is missing counts as unreadable.
#[derive(Debug, Clone, Default)]
pub struct Blobs(BTreeMap<Oid, Blob>);

impl Blobs {
    /// Adds a blob.
    pub fn insert(&mut self, oid: Oid, blob: Blob) {
        self.0.insert(oid, blob);
    }

    /// Returns how many bytes of content are held in memory.
    pub fn bytes(&self) -> usize {
        self.0.values().filter_map(Blob::content).map(<[u8]>::len).sum()
    }

    /// Returns the blob of an entry; `None` if the entry has none or it was not read.
    pub fn get(&self, entry: &Entry) -> Option<&Blob> {
        if entry.mode.has_blob() { self.0.get(&entry.oid) } else { None }
    }

    /// Returns the content of an entry, if it was read.
    pub fn content(&self, entry: &Entry) -> Option<&[u8]> {
        self.get(entry).and_then(Blob::content)
    }
}

impl FromIterator<(Oid, Blob)> for Blobs {
    fn from_iter<I: IntoIterator<Item = (Oid, Blob)>>(blobs: I) -> Self {
        Self(blobs.into_iter().collect())
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Diffs of texts, for the tests of what judges a change.

    use super::*;
    use crate::digest::Digest;

    /// Returns a blob id that is a function of the content, as git's are.
    pub(crate) fn oid(content: &[u8]) -> Oid {
        Digest::of(content).as_str().parse().unwrap()
    }

    /// One side of a change: a mode and a content.
    pub(crate) type Side<'a> = Option<(Mode, &'a [u8])>;

    /// Returns a side that is a plain file.
    #[allow(clippy::unnecessary_wraps)] // It is one side of a change, which may be none.
    pub(crate) fn file(text: &str) -> Side<'_> {
        Some((Mode::Regular, text.as_bytes()))
    }

    /// Returns a diff of these changes, and its blobs.
    pub(crate) fn diff(changes: &[(&str, Side<'_>, Side<'_>)]) -> (Diff, Blobs) {
        let mut blobs = Blobs::default();
        let mut entry = |side: Side<'_>| {
            side.map(|(mode, content)| {
                let oid = oid(content);
                if mode.has_blob() {
                    blobs.insert(oid.clone(), Blob::Content(content.to_vec()));
                }
                Entry { mode, oid }
            })
        };
        let mut all: Vec<Change> = changes
            .iter()
            .map(|(path, old, new)| Change {
                path: TreePath::new(path.as_bytes()).unwrap(),
                old: entry(*old),
                new: entry(*new),
            })
            .collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        (Diff { changes: all }, blobs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    #[test]
    fn reads_what_git_prints() {
        let raw = format!(
            ":100644 100755 {A} {B} M\0b\0:000000 120000 {ZERO} {A} A\0a\nb\0\
             :160000 000000 {A} {ZERO} D\0sub\0:100644 120000 {A} {B} T\0l"
        );
        let mut raw = raw.into_bytes();
        raw.extend_from_slice(b"\xff\0");
        let diff = Diff::parse(&raw).unwrap();
        let seen: Vec<_> = diff
            .changes
            .iter()
            .map(|c| {
                (c.path.bytes(), c.old.as_ref().map(|e| e.mode), c.new.as_ref().map(|e| e.mode))
            })
            .collect();
        assert_eq!(
            seen,
            [
                (&b"a\nb"[..], None, Some(Mode::Symlink)),
                (b"b", Some(Mode::Regular), Some(Mode::Executable)),
                (b"l\xff", Some(Mode::Regular), Some(Mode::Symlink)),
                (b"sub", Some(Mode::Submodule), None),
            ]
        );
        assert_eq!(diff.blobs().len(), 2);
        let stored = serde_json::to_string(&diff).unwrap();
        assert_eq!(serde_json::from_str::<Diff>(&stored).unwrap(), diff);
        assert_eq!(Diff::parse(b"").unwrap(), Diff::default());
    }

    #[test]
    fn refuses_what_git_does_not_print() {
        for bad in [
            format!(":100644 100644 {A} {B} M"),
            format!(":100644 100644 {A} {B} M\0"),
            format!(":100644 100644 {A} {B} R100\0a\0b\0"),
            format!("100644 100644 {A} {B} M\0a\0"),
            format!(":100644 100644 {A} {A} M\0a\0"),
            format!(":100644 040000 {A} {B} M\0a\0"),
            format!(":000000 100644 {A} {B} A\0a\0"),
            format!(":100644 000000 {A} {ZERO} M\0a\0"),
            format!(":000000 000000 {ZERO} {ZERO} M\0a\0"),
            ":100644 100644 1111 2222 M\0a\0".to_owned(),
            format!(":100644 100644 {A} {B} M\0a\0:100644 100644 {A} {B} M\0a\0"),
            format!("{A}\0:100644 100644 {A} {B} M\0a\0"),
        ] {
            assert!(Diff::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_merge_has_of_its_own_what_no_parent_has() {
        let file = testing::file;
        let (ours, _) = testing::diff(&[("a", None, file("1")), ("b", file("1"), file("2"))]);
        let (theirs, _) = testing::diff(&[("b", None, file("2")), ("c", None, file("1"))]);
        let own: Vec<_> = ours.also_in(&theirs).changes.into_iter().map(|c| c.path).collect();
        assert_eq!(own, [TreePath::new(b"b").unwrap()]);
    }

    proptest! {
        #[test]
        fn never_panics(raw in proptest::collection::vec(prop_oneof![Just(0u8), Just(b':'), Just(b' '), Just(b'0'), any::<u8>()], 0..200)) {
            let _ = Diff::parse(&raw);
        }
    }
}
