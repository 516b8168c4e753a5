//! Mirrors, workspaces, candidates and the default branch.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::change::{Blobs, TreePath};
use afk_core::ids::{At, IssueRef, Oid, RepoName, RunId};
use afk_core::proof::TreeRecipe;
use afk_core::run::UnfinishedWork;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::PortResult;

/// Where a run's work starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The short name of the default branch.
    pub branch: String,
    /// The head of the default branch; a new workspace stands on it unless `on` is set.
    pub base: Oid,
    /// The commit that a new workspace stands on instead of `base`, if the caller asked for one and
    /// the mirror could give it.
    pub on: Option<Oid>,
}

/// The head of a run's clone, fetched into the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedHead {
    /// The commit that HEAD names in the run's clone.
    pub head: Oid,
    /// Names of the clone's branches that neither HEAD nor the commit where the clone began
    /// reaches: work that would not land.
    pub elsewhere: Vec<String>,
    /// Operations of git that are unfinished there, such as a rebase or a stash.
    pub unfinished: Vec<UnfinishedWork>,
}

/// The result of a merge of two heads in the mirror, without a work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// The heads merge without conflicts.
    Clean {
        /// The merged tree.
        tree: Oid,
    },
    /// The heads conflict.
    Conflict {
        /// The paths that conflict, as text for people.
        paths: Vec<String>,
    },
}

/// The result of a push, as far as its answer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Push {
    /// The remote took it.
    Landed,
    /// The branch has commits that the pushed one does not contain.
    Moved,
    /// The remote refused it.
    Refused {
        /// What the remote said.
        why: String,
    },
    /// The push may or may not have arrived: only reading the remote tells.
    Unknown {
        /// What happened instead of an answer, such as a timeout.
        why: String,
    },
}

/// What stands at a path of a commit. For files that configure the control plane, so that nothing
/// but a plain file is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileAt {
    /// The path does not exist.
    Absent,
    /// The content of a plain file of mode 100644.
    File(Vec<u8>),
    /// A plain file that is larger than the limit.
    TooLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// A symlink, an executable, a folder or a submodule, or a path that leads through one.
    NotPlain {
        /// The mode in the tree entry, such as `120000`.
        mode: String,
    },
}

/// A commit to be made of a tree. Equal specs give the same commit id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitSpec {
    /// The id of its tree.
    pub tree: Oid,
    /// The ids of its parents, first parent first.
    pub parents: Vec<Oid>,
    /// Its whole message, trailers included.
    pub message: String,
    /// The author's name and address. The committer is always the control plane.
    pub author: (String, String),
    /// Author date and committer date, in seconds: the fraction is dropped.
    pub at: At,
}

/// What [`Git::landed`] looks for on the default branch.
#[derive(Debug, Clone, Copy)]
pub struct LandingSearch<'a> {
    /// The run that tried to land something.
    pub run: RunId,
    /// The number of its attempt, from 1.
    pub attempt: u32,
    /// The commit that the attempt tried to land.
    pub candidate: &'a Oid,
    /// Only commits that this one does not contain are searched for the attempt's trailers.
    pub base: &'a Oid,
}

/// A commit's header and message as they stand in its object, with the control plane's secrets
/// masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitText {
    /// The id of the commit.
    pub id: Oid,
    /// The ids of its parents, first parent first.
    pub parents: Vec<Oid>,
    /// The author's name and address.
    pub author: (String, String),
    /// The message, with what is not UTF-8 replaced.
    pub message: String,
    /// Whether the message was UTF-8 as it stood.
    pub is_text: bool,
    /// The lines of the object above the message; none if they are not UTF-8.
    pub header: Option<String>,
    /// Whether a secret was masked in it.
    pub masked: bool,
}

/// The control plane's git. A call that takes `cancel` fails with `Cancelled` soon after that is
/// cancelled.
#[async_trait]
pub trait Git: Send + Sync {
    /// Ensures the repo's mirror and the run's workspace, on the latest head of the default branch.
    /// A new workspace stands on the commit `on` instead if the mirror still has that commit and
    /// the default branch does not; from then on the commit is kept for this run, too.
    async fn prepare(
        &self,
        repo: &RepoName,
        issue: &IssueRef,
        run: RunId,
        on: Option<&Oid>,
        cancel: &CancellationToken,
    ) -> PortResult<Prepared>;
    /// Ensures the mirror alone, for a run whose agent has a checkout of its own.
    async fn prepare_mirror(
        &self,
        repo: &RepoName,
        cancel: &CancellationToken,
    ) -> PortResult<Prepared>;
    /// Fetches the head of the run's clone into the mirror as `refs/afk/<run>/<n>`.
    async fn fetch_head(
        &self,
        repo: &RepoName,
        run: RunId,
        n: u32,
        cancel: &CancellationToken,
    ) -> PortResult<FetchedHead>;
    /// Fetches the head of the run's clone, in which nothing is at work, into the mirror as
    /// `refs/afk/<run>/<name>`, and returns it.
    async fn keep_head(
        &self,
        repo: &RepoName,
        run: RunId,
        name: &str,
        cancel: &CancellationToken,
    ) -> PortResult<Oid>;
    /// Returns the head of the default branch, read from the remote with a short time limit: needs
    /// no mirror and fetches nothing.
    async fn remote_head(&self, repo: &RepoName, cancel: &CancellationToken) -> PortResult<Oid>;
    /// Returns the repo's remote as text for people. Does no I/O.
    fn remote(&self, repo: &RepoName) -> String;
    /// Fetches the remote's branches into the mirror and returns the head of `branch`; fails if
    /// the remote has no such branch.
    async fn default_head(
        &self,
        repo: &RepoName,
        branch: &str,
        cancel: &CancellationToken,
    ) -> PortResult<Oid>;
    /// Returns what stands at `path` in a commit, with at most `limit` bytes of content. Read from
    /// the object database, never through a file system.
    async fn file_at(
        &self,
        repo: &RepoName,
        commit: &Oid,
        path: &str,
        limit: u64,
    ) -> PortResult<FileAt>;
    /// Returns those of `paths` that are symbolic links in a commit, each with its target as the
    /// commit has it.
    async fn links(
        &self,
        repo: &RepoName,
        commit: &Oid,
        paths: &BTreeSet<TreePath>,
    ) -> PortResult<BTreeMap<TreePath, Vec<u8>>>;
    /// Returns the contents of those of `paths` that are plain files of at most `limit` bytes in a
    /// commit, executable or not.
    async fn contents(
        &self,
        repo: &RepoName,
        commit: &Oid,
        paths: &BTreeSet<TreePath>,
        limit: u64,
    ) -> PortResult<BTreeMap<TreePath, Vec<u8>>>;
    /// Merges `head` with `base` in the mirror.
    async fn merge(&self, repo: &RepoName, base: &Oid, head: &Oid) -> PortResult<Merge>;
    /// Applies the change from `from` to `head` to `onto`, as if it had been made there. Nothing
    /// else of the history of `from` gets into the result.
    async fn transplant(
        &self,
        repo: &RepoName,
        onto: &Oid,
        from: &Oid,
        head: &Oid,
    ) -> PortResult<Merge>;
    /// Returns whether `below` is `commit` or one of its ancestors; false if the mirror does not
    /// have both.
    async fn contains(&self, repo: &RepoName, commit: &Oid, below: &Oid) -> PortResult<bool>;
    /// Makes a commit in the mirror and returns its id.
    async fn commit(&self, repo: &RepoName, spec: &CommitSpec) -> PortResult<Oid>;
    /// Keeps a commit in the mirror under the run's ref `name`, until [`Git::release`] drops it.
    async fn keep(&self, repo: &RepoName, run: RunId, name: &str, commit: &Oid) -> PortResult<()>;
    /// Returns the whole message of a commit, with what is not UTF-8 replaced.
    async fn message(&self, repo: &RepoName, commit: &Oid) -> PortResult<String>;
    /// Returns the id of a commit's tree.
    async fn tree(&self, repo: &RepoName, commit: &Oid) -> PortResult<Oid>;
    /// Returns the raw diff between two trees or commits, without rename detection.
    async fn raw_diff(&self, repo: &RepoName, old: &Oid, new: &Oid) -> PortResult<Vec<u8>>;
    /// Returns those of `paths` that the commit `base` does not have and its `.gitignore` files
    /// ignore.
    async fn ignored(
        &self,
        repo: &RepoName,
        base: &Oid,
        paths: &BTreeSet<TreePath>,
    ) -> PortResult<BTreeSet<TreePath>>;
    /// Returns blobs by id; of a blob of more than `limit` bytes only the size, and nothing for an
    /// id that is missing or not a blob.
    async fn blobs(&self, repo: &RepoName, ids: &BTreeSet<Oid>, limit: u64) -> PortResult<Blobs>;
    /// Returns the commits that `head` contains and `base` does not, newest first. More commits or
    /// bytes than the adapter allows are an error.
    async fn commits(&self, repo: &RepoName, base: &Oid, head: &Oid)
    -> PortResult<Vec<CommitText>>;
    /// Returns the commits on `branch`, as of the last fetch, that came after `commit`, along first
    /// parents: the oldest `at_most`, oldest first. Empty if `branch` does not contain `commit`, or
    /// no longer exists.
    async fn descendants(
        &self,
        repo: &RepoName,
        branch: &str,
        commit: &Oid,
        at_most: usize,
    ) -> PortResult<Vec<CommitText>>;
    /// Makes the tree that results from applying `recipe` to the tree `start`; returns its id.
    async fn compose(&self, repo: &RepoName, start: &Oid, recipe: &TreeRecipe) -> PortResult<Oid>;
    /// Pushes `commit` to a branch, without force.
    async fn push(
        &self,
        repo: &RepoName,
        branch: &str,
        commit: &Oid,
        cancel: &CancellationToken,
    ) -> PortResult<Push>;
    /// Returns the head of a branch, read from the remote; none if there is no such branch.
    async fn head(
        &self,
        repo: &RepoName,
        branch: &str,
        cancel: &CancellationToken,
    ) -> PortResult<Option<Oid>>;
    /// Removes a branch below `afk/try/` from the remote; succeeds if it is gone already.
    async fn remove_branch(
        &self,
        repo: &RepoName,
        branch: &str,
        cancel: &CancellationToken,
    ) -> PortResult<()>;
    /// Fetches, and returns what the remote's `branch` has of an attempt: the candidate itself, or
    /// else the newest commit with the attempt's trailers; none if it has neither.
    async fn landed(
        &self,
        repo: &RepoName,
        branch: &str,
        tried: &LandingSearch<'_>,
        cancel: &CancellationToken,
    ) -> PortResult<Option<Oid>>;
    /// Removes the run's workspace, jobs and refs, and what its stages worked on: clean clones of
    /// the commits `judged`. With `forensics` the run's clone, jobs and refs stay.
    async fn release(
        &self,
        repo: &RepoName,
        run: RunId,
        judged: &[Oid],
        forensics: bool,
    ) -> PortResult<()>;
    /// Removes workspaces that were kept for forensics, oldest first, until the rest fits the
    /// configured limit; never one of a `live` run. The commits of `retriable` runs stay, so that
    /// a retry can go on from them.
    async fn clean(&self, live: &BTreeSet<RunId>, retriable: &BTreeSet<RunId>) -> PortResult<()>;
    /// Packs the mirror of `repo` and drops unreachable objects, if there is enough of them to be
    /// worth it; returns whether there was. Objects that a clone may borrow stay.
    async fn tidy(&self, repo: &RepoName, cancel: &CancellationToken) -> PortResult<bool>;
}
