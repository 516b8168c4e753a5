//! The trackers, each asked about the repos that name it.

use std::collections::BTreeMap;
use std::sync::Arc;

use afk_core::ids::{Actor, AdapterName, At, IssueRef, RepoName, RunId};
use afk_core::issue::{BlockerState, Comment, Issue, Permission};
use async_trait::async_trait;
use futures_util::future::join_all;

use super::Router;
use crate::ports::{IssueView, Labels, PortResult, Settings, Tracker};

/// What many repos answered, each for itself.
type Answers<T> = Vec<(RepoName, PortResult<T>)>;

/// Trackers by the name in a repo's `tracker`.
pub struct RoutedTracker {
    settings: Arc<dyn Settings>,
    trackers: Arc<Router<dyn Tracker>>,
}

impl RoutedTracker {
    /// Those of `trackers` that the repos of `settings` name.
    pub fn new(settings: Arc<dyn Settings>, trackers: Arc<Router<dyn Tracker>>) -> Self {
        Self { settings, trackers }
    }

    fn of(&self, repo: &RepoName) -> PortResult<Arc<dyn Tracker>> {
        let (policy, _) = self.settings.current();
        self.trackers.get(&policy.tracker_of(repo))
    }

    /// What is asked about many repos, by the tracker that is asked; those that none is
    /// asked about, and why.
    fn parted<A, T>(
        &self,
        asked: Vec<A>,
        repo: fn(&A) -> &RepoName,
    ) -> (Vec<(Arc<dyn Tracker>, Vec<A>)>, Answers<T>) {
        let (policy, _) = self.settings.current();
        let mut parts: BTreeMap<AdapterName, (Arc<dyn Tracker>, Vec<A>)> = BTreeMap::new();
        let mut failed = Vec::new();
        for one in asked {
            let name = repo(&one);
            let tracker = policy.tracker_of(name);
            match self.trackers.get(&tracker) {
                Ok(adapter) => {
                    let part = parts.entry(tracker);
                    part.or_insert_with(|| (adapter, Vec::new())).1.push(one);
                }
                Err(error) => failed.push((name.clone(), Err(error))),
            }
        }
        (parts.into_values().collect(), failed)
    }
}

#[async_trait]
impl Tracker for RoutedTracker {
    async fn ready(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        self.of(repo)?.ready(repo, label).await
    }

    async fn ready_everywhere(&self, repos: &[&RepoName], label: &str) -> Answers<Vec<Issue>> {
        let (parts, failed) = self.parted(repos.to_vec(), |repo| *repo);
        let asked = parts.iter().map(|(tracker, repos)| tracker.ready_everywhere(repos, label));
        join_all(asked).await.into_iter().flatten().chain(failed).collect()
    }

    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<IssueRef>> {
        self.of(repo)?.labelled(repo, label).await
    }

    async fn issue(&self, issue: &IssueRef) -> PortResult<IssueView> {
        self.of(&issue.repo)?.issue(issue).await
    }

    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission> {
        self.of(repo)?.permission(repo, actor).await
    }

    async fn blocker(&self, issue: &IssueRef) -> BlockerState {
        match self.of(&issue.repo) {
            Ok(tracker) => tracker.blocker(issue).await,
            Err(_) => BlockerState::Unreadable,
        }
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
        asked: &[(RepoName, At)],
    ) -> Answers<Vec<(IssueRef, Comment)>> {
        let (parts, failed) = self.parted(asked.to_vec(), |(repo, _)| repo);
        let asked = parts.iter().map(|(tracker, asked)| tracker.comments_everywhere(asked));
        join_all(asked).await.into_iter().flatten().chain(failed).collect()
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
