//! Mirrors, workspaces, candidates and the default branch.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::change::{Blobs, TreePath};
use afk_core::ids::{At, IssueRef, Oid, RepoName, RunId};
use afk_core::proof::TreeRecipe;
use afk_core::run::Unfinished;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::PortResult;

/// Where a run's work starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The default branch.
    pub branch: String,
    /// Its head, which the run's workspace, where it has one, stands on.
    pub base: Oid,
    /// The commit that the workspace was put on instead of the base, if that was asked for and worked.
    pub on: Option<Oid>,
}

/// The head of a run, brought into the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The commit that HEAD names in the run's clone.
    pub head: Oid,
    /// Other branches there that HEAD does not reach.
    pub elsewhere: Vec<String>,
    /// What of git's is not at its end there.
    pub unfinished: Vec<Unfinished>,
}

/// Two heads merged in the mirror, without a work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// They merge to this tree.
    Clean {
        /// The tree.
        tree: Oid,
    },
    /// They conflict in these paths.
    Conflict {
        /// The paths, for people.
        paths: Vec<String>,
    },
}

/// What became of a push.
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
    /// Nobody knows: read the remote.
    Unknown {
        /// What happened instead of an answer.
        why: String,
    },
}

/// An entry at a path of a commit, for files that configure us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileAt {
    /// Nothing.
    Absent,
    /// A plain file of mode 100644.
    File(Vec<u8>),
    /// A plain file over the limit.
    TooLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// A symlink, an executable, a folder or a submodule, or one of these on the way.
    NotPlain {
        /// The mode that the tree gives it, such as `120000`.
        mode: String,
    },
}

/// A commit to be made of a merged tree. Equal inputs, equal commit id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitSpec {
    /// Its tree.
    pub tree: Oid,
    /// Its parents.
    pub parents: Vec<Oid>,
    /// Its whole message.
    pub message: String,
    /// Whose work it is: name and address.
    pub author: (String, String),
    /// Author and committer date.
    pub at: At,
}

/// What an attempt tried to land.
#[derive(Debug, Clone, Copy)]
pub struct Tried<'a> {
    /// The run.
    pub run: RunId,
    /// Which of its attempts.
    pub attempt: u32,
    /// The candidate.
    pub candidate: &'a Oid,
    /// What is looked for came after this commit.
    pub base: &'a Oid,
}

/// A commit's header and message as its author wrote them, with our own secrets masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitText {
    /// The commit.
    pub id: Oid,
    /// Its parents.
    pub parents: Vec<Oid>,
    /// Its author: name and address.
    pub author: (String, String),
    /// The message, lossily as UTF-8.
    pub message: String,
    /// Whether the message is UTF-8 as it stands.
    pub is_text: bool,
    /// The header as it stands in the object; none where it is not UTF-8.
    pub header: Option<String>,
    /// Whether something in it was masked.
    pub masked: bool,
}

/// The control plane's git. Long calls stop when `cancel` says so.
#[async_trait]
pub trait Git: Send + Sync {
    /// Ensures mirror and workspace for the run, off the latest default branch. A new workspace
    /// stands on the commit `on` instead, if the mirror still has it and the default branch does
    /// not; from then on it is kept for this run, too.
    async fn prepare(
        &self,
        repo: &RepoName,
        issue: &IssueRef,
        run: RunId,
        on: Option<&Oid>,
        cancel: &CancellationToken,
    ) -> PortResult<Prepared>;
    /// The same for a run whose agent has a checkout of its own: ensures the mirror alone.
    async fn prepare_mirror(
        &self,
        repo: &RepoName,
        cancel: &CancellationToken,
    ) -> PortResult<Prepared>;
    /// Brings the head of the run's clone into the mirror as `refs/afk/<run>/<n>`.
    async fn fetch_head(
        &self,
        repo: &RepoName,
        run: RunId,
        n: u32,
        cancel: &CancellationToken,
    ) -> PortResult<Fetched>;
    /// Brings the head of the run's idle clone into the mirror as `refs/afk/<run>/<name>`.
    async fn keep_head(
        &self,
        repo: &RepoName,
        run: RunId,
        name: &str,
        cancel: &CancellationToken,
    ) -> PortResult<Oid>;
    /// The head of the remote's default branch, read there alone and within a moment: needs
    /// no mirror and fetches nothing.
    async fn remote_head(&self, repo: &RepoName, cancel: &CancellationToken) -> PortResult<Oid>;
    /// Where the repo's remote is, for people; touches nothing.
    fn remote(&self, repo: &RepoName) -> String;
    /// The default branch's head on the remote, fetched into the mirror.
    async fn default_head(
        &self,
        repo: &RepoName,
        branch: &str,
        cancel: &CancellationToken,
    ) -> PortResult<Oid>;
    /// What stands at `path` in a commit, read raw, never through a file system.
    async fn file_at(
        &self,
        repo: &RepoName,
        commit: &Oid,
        path: &str,
        limit: u64,
    ) -> PortResult<FileAt>;
    /// Those of `paths` that are symbolic links in a commit, with their targets as they are written
    /// there.
    async fn links(
        &self,
        repo: &RepoName,
        commit: &Oid,
        paths: &BTreeSet<TreePath>,
    ) -> PortResult<BTreeMap<TreePath, Vec<u8>>>;
    /// Merges `head` with `base`.
    async fn merge(&self, repo: &RepoName, base: &Oid, head: &Oid) -> PortResult<Merge>;
    /// Puts the change from `from` to `head` on `onto`, as if it had been made there: whatever else
    /// `head` has of the history of `from` stays behind.
    async fn transplant(
        &self,
        repo: &RepoName,
        onto: &Oid,
        from: &Oid,
        head: &Oid,
    ) -> PortResult<Merge>;
    /// Whether `commit` stands on `below`, or is it; false where the mirror has not got both.
    async fn contains(&self, repo: &RepoName, commit: &Oid, below: &Oid) -> PortResult<bool>;
    /// Makes a commit.
    async fn commit(&self, repo: &RepoName, spec: &CommitSpec) -> PortResult<Oid>;
    /// Keeps a commit under a name of the run's own, until the run is released.
    async fn keep(&self, repo: &RepoName, run: RunId, name: &str, commit: &Oid) -> PortResult<()>;
    /// The whole message of a commit.
    async fn message(&self, repo: &RepoName, commit: &Oid) -> PortResult<String>;
    /// The tree of a commit.
    async fn tree(&self, repo: &RepoName, commit: &Oid) -> PortResult<Oid>;
    /// The raw diff between two trees or commits, renames off.
    async fn raw_diff(&self, repo: &RepoName, old: &Oid, new: &Oid) -> PortResult<Vec<u8>>;
    /// Those of `paths` that the commit `base` has not got and its `.gitignore` files ignore.
    async fn ignored(
        &self,
        repo: &RepoName,
        base: &Oid,
        paths: &BTreeSet<TreePath>,
    ) -> PortResult<BTreeSet<TreePath>>;
    /// Blobs by id; one of more than `limit` bytes gives its size alone.
    async fn blobs(&self, repo: &RepoName, ids: &BTreeSet<Oid>, limit: u64) -> PortResult<Blobs>;
    /// The commits of `head` that `base` does not have, newest first, bounded.
    async fn commits(&self, repo: &RepoName, base: &Oid, head: &Oid)
    -> PortResult<Vec<CommitText>>;
    /// The commits of the default branch as it was last fetched that came after `commit`,
    /// by first parents, oldest first, at most so many; none where it is not on it.
    async fn descendants(
        &self,
        repo: &RepoName,
        branch: &str,
        commit: &Oid,
        at_most: usize,
    ) -> PortResult<Vec<CommitText>>;
    /// The tree that `recipe` makes of the tree `start`.
    async fn compose(&self, repo: &RepoName, start: &Oid, recipe: &TreeRecipe) -> PortResult<Oid>;
    /// Pushes `commit` to a branch, without force.
    async fn push(
        &self,
        repo: &RepoName,
        branch: &str,
        commit: &Oid,
        cancel: &CancellationToken,
    ) -> PortResult<Push>;
    /// The head of a branch, read from the remote; none where it has no such branch.
    async fn head(
        &self,
        repo: &RepoName,
        branch: &str,
        cancel: &CancellationToken,
    ) -> PortResult<Option<Oid>>;
    /// Removes a branch of ours below `afk/try/` from the remote; one that is gone is fine.
    async fn remove_branch(
        &self,
        repo: &RepoName,
        branch: &str,
        cancel: &CancellationToken,
    ) -> PortResult<()>;
    /// What of an attempt is on the remote's default branch: the commit itself, or one with
    /// the attempt's trailers.
    async fn landed(
        &self,
        repo: &RepoName,
        branch: &str,
        tried: &Tried<'_>,
        cancel: &CancellationToken,
    ) -> PortResult<Option<Oid>>;
    /// Removes the run's workspace and what its stages worked on (`judged`). With
    /// `forensics` the clone, the jobs and the run's refs stay.
    async fn release(
        &self,
        repo: &RepoName,
        run: RunId,
        judged: &[Oid],
        forensics: bool,
    ) -> PortResult<()>;
    /// Removes workspaces that were kept for forensics, oldest first, past the limit that
    /// is configured; never one of `live`. The commits of `retriable` runs stay, so that their
    /// work can be gone on from.
    async fn clean(&self, live: &BTreeSet<RunId>, retriable: &BTreeSet<RunId>) -> PortResult<()>;
    /// Packs the mirror of `repo` and drops what nothing needs, where that is worth it;
    /// whether it was. What a clone may borrow stays.
    async fn tidy(&self, repo: &RepoName, cancel: &CancellationToken) -> PortResult<bool>;
}
