//! Reads the mirror's objects raw: trees, blobs, commits.
//!
//! Guardrails and policy only see what is read here: no file system, no textual diff, nothing that
//! an attribute can change.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use afk_core::change::TreePath;
use afk_core::ids::{Oid, RunId};

use super::clone::head_ref;
use super::commits::Commit;
use super::error::GitError;
use super::mirror::Mirror;

/// Maximum number of commits in one call.
const MAX_COMMITS: usize = 10_000;
/// Maximum size of a commit object, in bytes.
const MAX_COMMIT_BYTES: u64 = 1 << 20;
/// Maximum size of all commits of one call, in bytes: an agent chooses how many and how large.
const MAX_COMMITS_BYTES: u64 = 64 << 20;

/// Maximum length of a link's target that is read, in bytes.
const LINK: u64 = 4 << 10;

/// The limits for reading blobs.
#[derive(Debug, Clone, Copy)]
pub struct BlobLimits {
    /// Maximum size of one blob, in bytes.
    pub each: u64,
    /// Maximum size of all blobs together, in bytes; a blob that no longer fits counts as too
    /// large.
    pub total: u64,
}

/// The object with a given id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blob {
    /// The content.
    Bytes(Vec<u8>),
    /// The blob is over a limit, and was not read.
    TooLarge {
        /// The blob's size in bytes.
        size: u64,
    },
    /// The object is of another kind, such as a tree.
    NotABlob,
    /// The mirror does not have the object; it may be a submodule's commit, for instance.
    Missing,
}

/// An entry at a path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobAt {
    /// A plain file of mode 100644.
    File(Vec<u8>),
    /// No entry.
    Absent,
    /// A plain file over the limit.
    TooLarge {
        /// The blob's size in bytes.
        size: u64,
    },
    /// A symlink, an executable, a folder or a submodule: not to be read as policy.
    NotPlain {
        /// The mode that the tree gives it, such as `120000`.
        mode: String,
    },
}

impl Mirror {
    /// Returns the tree of a commit.
    pub async fn tree_of(&self, commit: &Oid) -> Result<Oid, GitError> {
        self.resolve(&format!("{commit}^{{tree}}")).await?.ok_or_else(|| unknown(commit))
    }

    /// Returns the raw difference of two trees (or commits' trees), without renames: the output of
    /// `git diff-tree -r -z --raw`, with whole object ids.
    pub async fn raw_diff(&self, base: &Oid, commit: &Oid) -> Result<Vec<u8>, GitError> {
        self.call("diff-tree")
            .args(["-r", "-z", "--raw", "--no-renames", "--no-commit-id", "--no-abbrev"])
            .args(["--no-ext-diff", "--no-textconv", "--ignore-submodules=none"])
            .args([base.as_str(), commit.as_str(), "--"])
            .ok()
            .await
    }

    /// Reads blobs in the given order, with two processes however many there are.
    pub async fn blobs(&self, ids: &[Oid], limits: BlobLimits) -> Result<Vec<Blob>, GitError> {
        let mut left = limits.total;
        let mut found = Vec::with_capacity(ids.len());
        let mut wanted = Vec::new();
        for (id, object) in ids.iter().zip(self.sizes(ids).await?) {
            found.push(match object {
                None => Blob::Missing,
                Some((kind, _)) if kind != "blob" => Blob::NotABlob,
                Some((_, size)) if size > limits.each || size > left => Blob::TooLarge { size },
                Some((_, size)) => {
                    left -= size;
                    wanted.push(id.clone());
                    Blob::Bytes(Vec::new())
                }
            });
        }
        let mut contents = self.contents(&wanted, limits.total).await?.into_iter();
        for blob in &mut found {
            if let Blob::Bytes(bytes) = blob {
                *bytes = contents.next().ok_or_else(|| strange("it sent too few objects"))?;
            }
        }
        Ok(found)
    }

    /// Returns the entry at `path` in a commit, for files that configure the control plane (repo
    /// policy): only a blob of mode 100644 is read, never through the file system. A symlink or a
    /// submodule in place of a folder on the way is reported like one in place of the file.
    pub async fn blob_at(&self, commit: &Oid, path: &str, limit: u64) -> Result<BlobAt, GitError> {
        for (at, _) in path.match_indices('/') {
            match self.entry_at(commit, path.get(..at).unwrap_or_default()).await? {
                None => return Ok(BlobAt::Absent),
                Some((mode, _)) if mode != "040000" => return Ok(BlobAt::NotPlain { mode }),
                Some(_) => {}
            }
        }
        let Some((mode, id)) = self.entry_at(commit, path).await? else {
            return Ok(BlobAt::Absent);
        };
        if mode != "100644" {
            return Ok(BlobAt::NotPlain { mode });
        }
        let limits = BlobLimits { each: limit, total: limit };
        match self.blobs(std::slice::from_ref(&id), limits).await?.pop() {
            Some(Blob::Bytes(bytes)) => Ok(BlobAt::File(bytes)),
            Some(Blob::TooLarge { size }) => Ok(BlobAt::TooLarge { size }),
            Some(Blob::NotABlob | Blob::Missing) | None => Err(unknown(&id)),
        }
    }

    /// Returns those of `paths` that are symbolic links in a commit, with their targets. A target
    /// longer than any path leads nowhere and is left out.
    pub async fn links(
        &self,
        commit: &Oid,
        paths: &BTreeSet<TreePath>,
    ) -> Result<BTreeMap<TreePath, Vec<u8>>, GitError> {
        self.of_modes(commit, paths, &["120000"], LINK).await
    }

    /// Returns those of `paths` that are plain files of at most `limit` bytes in a commit, with
    /// their contents.
    pub async fn file_contents(
        &self,
        commit: &Oid,
        paths: &BTreeSet<TreePath>,
        limit: u64,
    ) -> Result<BTreeMap<TreePath, Vec<u8>>, GitError> {
        self.of_modes(commit, paths, &["100644", "100755"], limit).await
    }

    /// Returns those of `paths` that have one of `modes` in a commit, with their blobs. A blob of
    /// more than `limit` bytes is left out.
    async fn of_modes(
        &self,
        commit: &Oid,
        paths: &BTreeSet<TreePath>,
        modes: &[&str],
        limit: u64,
    ) -> Result<BTreeMap<TreePath, Vec<u8>>, GitError> {
        if paths.is_empty() {
            return Ok(BTreeMap::new());
        }
        let call = self.call("ls-tree").args(["--full-tree", "-z", commit.as_str(), "--"]);
        let listed =
            paths.iter().fold(call, |call, path| call.arg(OsStr::from_bytes(path.bytes())));
        let listed = listed.ok().await?;
        let mut found = Vec::new();
        for line in listed.split(|b| *b == 0) {
            let mut halves = line.splitn(2, |b| *b == b'\t');
            let (Some(meta), Some(path)) = (halves.next(), halves.next()) else { continue };
            let meta = String::from_utf8_lossy(meta);
            let Some((mode, id)) = meta.split_once(" blob ") else { continue };
            if !modes.contains(&mode) {
                continue;
            }
            let id: Oid = id.parse().map_err(|_| {
                let detail = "an entry without an id".to_owned();
                GitError::Unexpected { command: "ls-tree", detail }
            })?;
            // A folder among the paths brings everything that is in it.
            let path = TreePath::new(path).filter(|path| paths.contains(path));
            found.extend(path.map(|path| (path, id)));
        }
        let ids: Vec<Oid> = found.iter().map(|(_, id)| id.clone()).collect();
        let limits = BlobLimits { each: limit, total: limit * ids.len() as u64 };
        let blobs = self.blobs(&ids, limits).await?;
        let read = found.into_iter().zip(blobs).filter_map(|((path, _), blob)| match blob {
            Blob::Bytes(content) => Some((path, content)),
            Blob::TooLarge { .. } | Blob::NotABlob | Blob::Missing => None,
        });
        Ok(read.collect())
    }

    /// Returns mode and id of the entry at exactly `path`.
    async fn entry_at(&self, commit: &Oid, path: &str) -> Result<Option<(String, Oid)>, GitError> {
        let args = ["--full-tree", "-z", commit.as_str(), "--", path];
        let line = self.call("ls-tree").args(args).ok().await?;
        let line = String::from_utf8_lossy(&line);
        let Some((meta, _)) = line.trim_end_matches('\0').split_once('\t') else {
            return Ok(None);
        };
        let mut parts = meta.split(' ');
        let (mode, _kind, id) = (parts.next(), parts.next(), parts.next());
        match (mode, id.map(str::parse::<Oid>)) {
            (Some(mode), Some(Ok(id))) => Ok(Some((mode.to_owned(), id))),
            (Some(_), Some(Err(_)) | None) | (None, _) => {
                let detail = "a line without mode and id".to_owned();
                Err(GitError::Unexpected { command: "ls-tree", detail })
            }
        }
    }

    /// Returns the commits of `head` that `base` does not contain, raw, oldest first.
    pub async fn commits(&self, base: &Oid, head: &Oid) -> Result<Vec<Commit>, GitError> {
        self.commits_naming(None, base, head).await
    }

    /// As [`Mirror::commits`], but if a `run` is given, only those whose message contains its id.
    /// Git itself leaves the others out, so that they do not count towards the limits.
    async fn commits_naming(
        &self,
        run: Option<RunId>,
        base: &Oid,
        head: &Oid,
    ) -> Result<Vec<Commit>, GitError> {
        let mut call = self.call("rev-list").args(["--reverse", "--topo-order"]);
        if let Some(run) = run {
            call = call.args(["--fixed-strings", "--regexp-ignore-case"]);
            call = call.arg(format!("--grep={run}"));
        }
        let call = call.arg(format!("--max-count={}", MAX_COMMITS + 1));
        let list = call.args([head.as_str(), &format!("^{base}"), "--"]).ok().await?;
        let ids = String::from_utf8_lossy(&list)
            .lines()
            .map(str::parse)
            .collect::<Result<Vec<Oid>, _>>()
            .map_err(|e| strange(&e.to_string()))?;
        if ids.len() > MAX_COMMITS {
            return Err(GitError::TooMany { what: "commits", limit: MAX_COMMITS });
        }
        let sizes = self.sizes(&ids).await?;
        let largest = sizes.iter().flatten().map(|(_, size)| *size).max().unwrap_or(0);
        if largest > MAX_COMMIT_BYTES {
            return Err(GitError::TooLarge { command: "cat-file", limit: MAX_COMMIT_BYTES });
        }
        let total = sizes.iter().flatten().map(|(_, size)| size).sum();
        if total > MAX_COMMITS_BYTES {
            return Err(GitError::TooLarge { command: "cat-file", limit: MAX_COMMITS_BYTES });
        }
        let raw = self.contents(&ids, total).await?;
        ids.iter()
            .zip(raw)
            .map(|(id, raw)| Commit::parse(id, &raw).ok_or_else(|| strange("a malformed commit")))
            .collect()
    }

    /// Returns the descendants of `commit` on the first-parent history of `branch` as of the last
    /// fetch, oldest first, at most `at_most`. There are none on a branch that does not exist, nor
    /// of a commit that the mirror does not have.
    pub async fn descendants(
        &self,
        branch: &str,
        commit: &Oid,
        at_most: usize,
    ) -> Result<Vec<Commit>, GitError> {
        let Some(head) = self.resolve(&head_ref(branch)?).await? else { return Ok(Vec::new()) };
        if !self.has(commit).await? {
            return Ok(Vec::new());
        }
        let call = self.call("rev-list").args(["--first-parent", "--ancestry-path"]);
        let call = call.arg(format!("--max-count={}", MAX_COMMITS + 1));
        let list = call.args([head.as_str(), &format!("^{commit}"), "--"]).ok().await?;
        let text = String::from_utf8_lossy(&list);
        let ids: Vec<&str> = text.lines().collect();
        if ids.len() > MAX_COMMITS {
            return Err(GitError::TooMany { what: "commits", limit: MAX_COMMITS });
        }
        let mut found = Vec::new();
        for id in ids.into_iter().rev().take(at_most) {
            found.push(self.commit_of(&id.parse().map_err(|_| strange(id))?).await?);
        }
        Ok(found)
    }

    /// Returns one commit, raw.
    pub async fn commit_of(&self, id: &Oid) -> Result<Commit, GitError> {
        let raw = self.contents(std::slice::from_ref(id), MAX_COMMIT_BYTES).await?;
        let commit = raw.first().and_then(|raw| Commit::parse(id, raw));
        commit.ok_or_else(|| unknown(id))
    }

    /// Returns the newest commit on a branch, after `since`, that has this attempt's trailers. This
    /// tells whether a push arrived whose answer was lost. It may have to search all of a branch:
    /// after a rewrite of the history, `since` contains none of its commits.
    pub async fn find_trailer(
        &self,
        branch: &str,
        run: RunId,
        attempt: u32,
        since: &Oid,
    ) -> Result<Option<Oid>, GitError> {
        let Some(head) = self.resolve(&head_ref(branch)?).await? else { return Ok(None) };
        let ours =
            |c: &Commit| c.trailers().is_some_and(|t| t.run == run && t.attempt == Some(attempt));
        let named = self.commits_naming(Some(run), since, &head).await?;
        Ok(named.into_iter().rev().find(ours).map(|c| c.id))
    }

    /// Returns kind and size of objects, in order; `None` for one that is missing.
    async fn sizes(&self, ids: &[Oid]) -> Result<Vec<Option<(String, u64)>>, GitError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self.call("cat-file").arg("--batch-check").input(lines(ids)).ok().await?;
        let answer = String::from_utf8_lossy(&answer);
        let sizes: Vec<_> = answer
            .lines()
            .map(|line| {
                let mut parts = line.split(' ').skip(1);
                let kind = parts.next()?.to_owned();
                Some((kind, parts.next()?.parse().ok()?))
            })
            .collect();
        if sizes.len() == ids.len() { Ok(sizes) } else { Err(strange("a line is missing")) }
    }

    /// Returns the contents of existing objects, in order; together they must not be larger than
    /// `total`.
    async fn contents(&self, ids: &[Oid], total: u64) -> Result<Vec<Vec<u8>>, GitError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let room = usize::try_from(total).unwrap_or(usize::MAX).saturating_add(ids.len() * 128);
        let call = self.call("cat-file").arg("--batch").input(lines(ids)).output(room);
        let answer = call.ok().await?;
        let mut rest = answer.as_slice();
        let mut contents = Vec::with_capacity(ids.len());
        for _ in ids {
            let end = rest.iter().position(|b| *b == b'\n').ok_or_else(|| strange("no header"))?;
            let header = String::from_utf8_lossy(rest.get(..end).unwrap_or_default());
            let size: usize = header
                .rsplit(' ')
                .next()
                .and_then(|s| s.parse().ok())
                .ok_or_else(|| strange(&header))?;
            let body =
                rest.get(end + 1..end + 1 + size).ok_or_else(|| strange("a short object"))?;
            contents.push(body.to_vec());
            rest = rest.get(end + 2 + size..).unwrap_or_default();
        }
        Ok(contents)
    }
}

fn lines(ids: &[Oid]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.as_str().bytes().chain([b'\n'])).collect()
}

fn unknown(id: &Oid) -> GitError {
    GitError::Unexpected { command: "rev-parse", detail: format!("the mirror has no object {id}") }
}

fn strange(detail: &str) -> GitError {
    GitError::Unexpected { command: "cat-file", detail: detail.to_owned() }
}
