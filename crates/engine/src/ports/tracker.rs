//! Issue trackers.

use afk_core::ids::{Actor, At, IssueRef, RepoName, RunId};
use afk_core::issue::{BlockerState, Comment, Issue, IssueEvent, Permission};
use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};

use super::PortResult;

/// Repos that are asked at once, so that a slow tracker does not hold up all others.
const AT_ONCE: usize = 8;

/// One issue as it is now, with what happened to it.
#[derive(Debug, Clone)]
pub struct IssueView {
    /// The issue.
    pub issue: Issue,
    /// Its events, oldest first, to the last page.
    pub events: Vec<IssueEvent>,
    /// Blockers that the tracker itself knows, beside those named in the body.
    pub native_blockers: Vec<IssueRef>,
}

/// Labels to put on and to take off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// To be on.
    pub add: Vec<String>,
    /// To be off.
    pub remove: Vec<String>,
}

/// Where issues live. Writes are idempotent: what is so already stays so, without an event.
#[async_trait]
pub trait Tracker: Send + Sync {
    /// Open issues of `repo` that carry `label`.
    async fn ready(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>>;
    /// [`Tracker::ready`] of each of `repos`: a tracker that can, answers for many at once.
    async fn ready_everywhere(
        &self,
        repos: &[&RepoName],
        label: &str,
    ) -> Vec<(RepoName, PortResult<Vec<Issue>>)> {
        let ask = |repo: RepoName| async move {
            let issues = self.ready(&repo, label).await;
            (repo, issues)
        };
        let repos: Vec<RepoName> = repos.iter().copied().cloned().collect();
        stream::iter(repos).map(ask).buffered(AT_ONCE).collect().await
    }
    /// Open issues of `repo` that carry `label`, ready or not: locks that people see.
    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<IssueRef>>;
    /// One issue, live.
    async fn issue(&self, issue: &IssueRef) -> PortResult<IssueView>;
    /// What `actor` may do on `repo`, live or cached briefly.
    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission>;
    /// Whether `issue` still blocks.
    async fn blocker(&self, issue: &IssueRef) -> BlockerState;
    /// Our own account there.
    async fn own_account(&self, repo: &RepoName) -> PortResult<Actor>;
    /// Puts labels on and takes labels off.
    async fn label(&self, issue: &IssueRef, labels: &Labels) -> PortResult<()>;
    /// The comments of `issue`, oldest first.
    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>>;
    /// The comments on all issues of `repo` that were written at `since` or later, oldest first.
    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>>;
    /// [`Tracker::comments_since`] of each repo, several at once.
    async fn comments_everywhere(
        &self,
        asked: &[(RepoName, At)],
    ) -> Vec<(RepoName, PortResult<Vec<(IssueRef, Comment)>>)> {
        let ask = |(repo, since): (RepoName, At)| async move {
            let comments = self.comments_since(&repo, since).await;
            (repo, comments)
        };
        stream::iter(asked.to_vec()).map(ask).buffered(AT_ONCE).collect().await
    }
    /// Posts a comment that carries the marker of `run`, and gives its id; an adapter
    /// that can, posts none where our own account already has one with that marker. A
    /// call that breaks off has done its work before [`afk_core::comment::SETTLES`], or
    /// never does.
    async fn comment(&self, issue: &IssueRef, run: RunId, body: &str) -> PortResult<String>;
    /// Replaces the text of our comment `id`.
    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()>;
    /// Closes the issue as completed.
    async fn close(&self, issue: &IssueRef) -> PortResult<()>;
    /// Opens it again.
    async fn reopen(&self, issue: &IssueRef) -> PortResult<()>;
}
