//! The trackers: each call goes to the one that the repo names.

use std::sync::Arc;

use afk_core::ids::{Actor, At, IssueRef, RepoName, RunId};
use afk_core::issue::{BlockerState, Comment, Issue, Permission};
use async_trait::async_trait;

use super::Router;
use crate::ports::{ByRepo, IssueView, Labels, PortResult, Settings, Tracker};

/// The tracker of each repo, which the `tracker` in its table names.
pub struct RoutedTracker {
    settings: Arc<dyn Settings>,
    trackers: Arc<Router<dyn Tracker>>,
}

impl RoutedTracker {
    /// Routes to those of `trackers` that the repos of `settings` name.
    pub fn new(settings: Arc<dyn Settings>, trackers: Arc<Router<dyn Tracker>>) -> Self {
        Self { settings, trackers }
    }

    fn of(&self, repo: &RepoName) -> PortResult<Arc<dyn Tracker>> {
        let (policy, _) = self.settings.current();
        self.trackers.get(&policy.tracker_of(repo))
    }
}

#[async_trait]
impl Tracker for RoutedTracker {
    fn home(&self, repo: &RepoName) -> String {
        let (policy, _) = self.settings.current();
        let name = policy.tracker_of(repo);
        match self.trackers.get(&name) {
            // Two trackers may use the same name for a home.
            Ok(tracker) => format!("{name}: {}", tracker.home(repo)),
            Err(_) => name.to_string(),
        }
    }

    async fn ready(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        self.of(repo)?.ready(repo, label).await
    }

    async fn ready_everywhere(
        &self,
        repos: &[RepoName],
        label: &str,
    ) -> Option<ByRepo<Vec<Issue>>> {
        // Repos of one home name one tracker; if it is missing, each repo's own call reports that.
        self.of(repos.first()?).ok()?.ready_everywhere(repos, label).await
    }

    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<IssueRef>> {
        self.of(repo)?.labelled(repo, label).await
    }

    fn forget(&self, issue: &IssueRef) {
        if let Ok(tracker) = self.of(&issue.repo) {
            tracker.forget(issue);
        }
    }

    async fn issue(&self, issue: &IssueRef) -> PortResult<IssueView> {
        self.of(&issue.repo)?.issue(issue).await
    }

    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission> {
        self.of(repo)?.permission(repo, actor).await
    }

    async fn blocker(&self, repo: &RepoName, issue: &IssueRef) -> PortResult<BlockerState> {
        self.of(repo)?.blocker(repo, issue).await
    }

    async fn own_account(&self, repo: &RepoName) -> PortResult<Actor> {
        self.of(repo)?.own_account(repo).await
    }

    async fn label(&self, issue: &IssueRef, labels: &Labels) -> PortResult<()> {
        self.of(&issue.repo)?.label(issue, labels).await
    }

    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>> {
        self.of(&issue.repo)?.comments(issue).await
    }

    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>> {
        self.of(repo)?.comments_since(repo, since).await
    }

    async fn comments_everywhere(
        &self,
        repos: &[(RepoName, At)],
    ) -> Option<ByRepo<Vec<(IssueRef, Comment)>>> {
        let (first, _) = repos.first()?;
        self.of(first).ok()?.comments_everywhere(repos).await
    }

    async fn comment(&self, issue: &IssueRef, run: RunId, body: &str) -> PortResult<String> {
        self.of(&issue.repo)?.comment(issue, run, body).await
    }

    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()> {
        self.of(&issue.repo)?.edit_comment(issue, id, body).await
    }

    async fn close(&self, issue: &IssueRef) -> PortResult<()> {
        self.of(&issue.repo)?.close(issue).await
    }

    async fn reopen(&self, issue: &IssueRef) -> PortResult<()> {
        self.of(&issue.repo)?.reopen(issue).await
    }
}
