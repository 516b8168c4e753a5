//! Issue trackers: issues, their events, labels and comments.

use afk_core::ids::{Actor, At, IssueRef, RepoName, RunId};
use afk_core::issue::{BlockerState, Comment, Issue, IssueEvent, Permission};
use async_trait::async_trait;

use super::PortResult;

/// The results of reading many repos, one for each.
pub type ByRepo<T> = Vec<(RepoName, PortResult<T>)>;

/// One issue as it is now, with what happened to it.
#[derive(Debug, Clone)]
pub struct IssueView {
    /// The issue.
    pub issue: Issue,
    /// All its events, oldest first.
    pub events: Vec<IssueEvent>,
    /// Blockers that the tracker itself records, besides those named in the body.
    pub native_blockers: Vec<IssueRef>,
}

/// Labels to add and to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Names of labels to add.
    pub add: Vec<String>,
    /// Names of labels to remove.
    pub remove: Vec<String>,
}

/// Reads and writes issues. Writes are idempotent: one that would change nothing has no effect and
/// leaves no event.
#[async_trait]
pub trait Tracker: Send + Sync {
    /// Returns the home of `repo`: a name for the account that it is read with, and so for the rate
    /// limit, such as `github.com as afk-bot`. Repos of one home are read together, and a home that
    /// does not answer holds up no other. Does no I/O.
    fn home(&self, repo: &RepoName) -> String;
    /// Lists the open issues of `repo` that carry `label`.
    async fn ready(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>>;
    /// Returns [`Tracker::ready`] of each of `repos`, which share a home; none if the tracker
    /// cannot read many repos in one call.
    async fn ready_everywhere(
        &self,
        _repos: &[RepoName],
        _label: &str,
    ) -> Option<ByRepo<Vec<Issue>>> {
        None
    }
    /// Lists the open issues of `repo` that carry `label`, the label of a lock that people see.
    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<IssueRef>>;
    /// Drops what the adapter has cached of `issue`, so that the next read of it is live: something
    /// is about to be decided on it. Does no I/O.
    fn forget(&self, _issue: &IssueRef) {}
    /// Returns an issue as it is now. An adapter may return what it read before if the tracker has
    /// shown since then that the issue did not change.
    async fn issue(&self, issue: &IssueRef) -> PortResult<IssueView>;
    /// Returns what `actor` may do on `repo`; an adapter may cache that briefly.
    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission>;
    /// Returns whether `issue` still blocks others. It is read through the account of `repo`, which
    /// need not be the issue's own repo. An issue that cannot be read blocks.
    async fn blocker(&self, repo: &RepoName, issue: &IssueRef) -> PortResult<BlockerState>;
    /// Returns the account as which the control plane writes in `repo`.
    async fn own_account(&self, repo: &RepoName) -> PortResult<Actor>;
    /// Adds and removes labels.
    async fn label(&self, issue: &IssueRef, labels: &Labels) -> PortResult<()>;
    /// Returns the comments of `issue`, oldest first.
    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>>;
    /// Returns the comments on all issues of `repo` that were written at `since` or later, oldest
    /// first.
    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>>;
    /// Returns [`Tracker::comments_since`] of each of `repos`, which share a home; none if the
    /// tracker cannot read many repos in one call.
    async fn comments_everywhere(
        &self,
        _repos: &[(RepoName, At)],
    ) -> Option<ByRepo<Vec<(IssueRef, Comment)>>> {
        None
    }
    /// Posts a comment whose `body` carries the marker of `run`, and returns the comment's id. An
    /// adapter that can check first posts none if our own account has one with that marker. A call
    /// that breaks off takes effect within [`afk_core::comment::SETTLES`], or never.
    async fn comment(&self, issue: &IssueRef, run: RunId, body: &str) -> PortResult<String>;
    /// Replaces the text of our own account's comment `id`.
    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()>;
    /// Closes the issue as completed.
    async fn close(&self, issue: &IssueRef) -> PortResult<()>;
    /// Reopens the issue.
    async fn reopen(&self, issue: &IssueRef) -> PortResult<()>;
}
