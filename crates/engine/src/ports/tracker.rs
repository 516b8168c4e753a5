//! Issue trackers.

use afk_core::ids::{Actor, At, IssueRef, RepoName, RunId};
use afk_core::issue::{BlockerState, Comment, Issue, IssueEvent, Permission};
use async_trait::async_trait;

use super::PortResult;

/// What was read of many repos, with a result for each.
pub type ByRepo<T> = Vec<(RepoName, PortResult<T>)>;

/// One issue as it is now, with what happened to it.
#[derive(Debug, Clone)]
pub struct IssueView {
    /// The issue.
    pub issue: Issue,
    /// Its events, oldest first, to the last page.
    pub events: Vec<IssueEvent>,
    /// Blockers that the tracker itself knows, besides those named in the body.
    pub native_blockers: Vec<IssueRef>,
}

/// Labels to add and to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// To add.
    pub add: Vec<String>,
    /// To remove.
    pub remove: Vec<String>,
}

/// Where issues live. Writes are idempotent: what is so already stays so, without an event.
#[async_trait]
pub trait Tracker: Send + Sync {
    /// The home of `repo`: whatever shares one account and its rate limit, such as `github.com as
    /// afk-bot`. Repos of one home are read together, and a home that does not answer holds up no
    /// other. Does no I/O.
    fn home(&self, repo: &RepoName) -> String;
    /// Open issues of `repo` that carry `label`.
    async fn ready(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>>;
    /// [`Tracker::ready`] of each of `repos`, which share a home, if the tracker can read many at
    /// once; otherwise none.
    async fn ready_everywhere(
        &self,
        _repos: &[RepoName],
        _label: &str,
    ) -> Option<ByRepo<Vec<Issue>>> {
        None
    }
    /// Open issues of `repo` that carry `label`, ready or not: locks that people see.
    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<IssueRef>>;
    /// Drops what an adapter keeps of `issue`, so that the next read of it is live: something is
    /// about to be decided on it. Does no I/O.
    fn forget(&self, _issue: &IssueRef) {}
    /// One issue, as it is now: as it was read last, where the tracker has shown since that it did
    /// not change.
    async fn issue(&self, issue: &IssueRef) -> PortResult<IssueView>;
    /// What `actor` may do on `repo`, live or cached briefly.
    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission>;
    /// Whether `issue` still blocks others, read through the account of `repo`, which need not be
    /// its own. What cannot be read blocks.
    async fn blocker(&self, repo: &RepoName, issue: &IssueRef) -> PortResult<BlockerState>;
    /// Our own account there.
    async fn own_account(&self, repo: &RepoName) -> PortResult<Actor>;
    /// Adds and removes labels.
    async fn label(&self, issue: &IssueRef, labels: &Labels) -> PortResult<()>;
    /// The comments of `issue`, oldest first.
    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>>;
    /// The comments on all issues of `repo` that were written at `since` or later, oldest first.
    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>>;
    /// [`Tracker::comments_since`] of each of `repos`, which share a home, if the tracker can read
    /// many at once; otherwise none.
    async fn comments_everywhere(
        &self,
        _repos: &[(RepoName, At)],
    ) -> Option<ByRepo<Vec<(IssueRef, Comment)>>> {
        None
    }
    /// Posts a comment that carries the marker of `run`, and returns its id; an adapter that can
    /// check posts none if our own account already has one with that marker. A call that breaks off
    /// has its effect before [`afk_core::comment::SETTLES`], or never.
    async fn comment(&self, issue: &IssueRef, run: RunId, body: &str) -> PortResult<String>;
    /// Replaces the text of our comment `id`.
    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()>;
    /// Closes the issue as completed.
    async fn close(&self, issue: &IssueRef) -> PortResult<()>;
    /// Opens it again.
    async fn reopen(&self, issue: &IssueRef) -> PortResult<()>;
}
