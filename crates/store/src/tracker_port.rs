//! Implements the engine's tracker port over the local tracker: `afk` writes as its own account.

use std::collections::BTreeMap;

use afk_core::ids::{Actor, IssueRef, RepoName, RunId};
use afk_core::issue::{BlockerState, Comment, Issue, Permission};
use afk_core::{comment, ids::At};
use afk_engine::ports::{ByRepo, IssueView, Labels, PortError, PortErrorKind, PortResult, Tracker};
use async_trait::async_trait;

use super::local_tracker::{LocalTracker, TrackerError};
use crate::StoreErrorKind;

/// The local tracker as the engine sees it.
#[derive(Debug, Clone)]
pub struct TrackerPort {
    tracker: LocalTracker,
}

impl TrackerPort {
    /// Creates the engine's view of `tracker`.
    pub fn new(tracker: LocalTracker) -> Self {
        Self { tracker }
    }
}

#[async_trait]
impl Tracker for TrackerPort {
    fn home(&self, _repo: &RepoName) -> String {
        "local".to_owned()
    }

    async fn ready(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        self.tracker.list_ready(repo, label).await.map_err(fault)
    }

    async fn ready_everywhere(
        &self,
        repos: &[RepoName],
        label: &str,
    ) -> Option<ByRepo<Vec<Issue>>> {
        let all = self.tracker.list_ready_everywhere(label).await.map(|all| {
            let mut of: BTreeMap<RepoName, Vec<Issue>> = BTreeMap::new();
            for issue in all {
                of.entry(issue.issue.repo.clone()).or_default().push(issue);
            }
            of
        });
        Some(of_each(repos.iter(), all))
    }

    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<IssueRef>> {
        let issues = self.tracker.list_ready(repo, label).await.map_err(fault)?;
        Ok(issues.into_iter().map(|issue| issue.issue).collect())
    }

    async fn issue(&self, issue: &IssueRef) -> PortResult<IssueView> {
        let found = self.tracker.get(issue).await.map_err(fault)?.ok_or_else(|| {
            let error =
                format!("there is no issue {issue}; `afk issue list --all` shows every issue");
            PortError::new(PortErrorKind::NotFound, error)
        })?;
        let events = self.tracker.events(issue).await.map_err(fault)?;
        Ok(IssueView { issue: found, events, native_blockers: Vec::new() })
    }

    async fn permission(&self, _repo: &RepoName, actor: &Actor) -> PortResult<Permission> {
        Ok(self.tracker.permission(&actor.id))
    }

    async fn blocker(&self, _repo: &RepoName, issue: &IssueRef) -> PortResult<BlockerState> {
        Ok(self.tracker.blocker(issue).await)
    }

    async fn own_account(&self, _repo: &RepoName) -> PortResult<Actor> {
        Ok(LocalTracker::own_account())
    }

    async fn label(&self, issue: &IssueRef, labels: &Labels) -> PortResult<()> {
        let (own, now) = (LocalTracker::own_account(), At::now());
        for label in &labels.add {
            self.tracker.label(issue, label, &own, now).await.map_err(fault)?;
        }
        for label in &labels.remove {
            self.tracker.unlabel(issue, label, &own, now).await.map_err(fault)?;
        }
        Ok(())
    }

    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>> {
        self.tracker.comments(issue).await.map_err(fault)
    }

    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>> {
        let mut found =
            self.tracker.comments_since(&[(repo.clone(), since)]).await.map_err(fault)?;
        Ok(found.remove(repo).unwrap_or_default())
    }

    async fn comments_everywhere(
        &self,
        repos: &[(RepoName, At)],
    ) -> Option<ByRepo<Vec<(IssueRef, Comment)>>> {
        let read = self.tracker.comments_since(repos).await;
        Some(of_each(repos.iter().map(|(repo, _)| repo), read))
    }

    async fn comment(&self, issue: &IssueRef, run: RunId, body: &str) -> PortResult<String> {
        let own = LocalTracker::own_account();
        let there = self.tracker.comments(issue).await.map_err(fault)?;
        match comment::find(&there, run, &own.id) {
            Some(known) => Ok(known.id.clone()),
            None => self.tracker.comment(issue, body, &own, At::now()).await.map_err(fault),
        }
    }

    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()> {
        let own = LocalTracker::own_account();
        self.tracker.edit_comment(issue, id, body, &own, At::now()).await.map_err(fault).map(drop)
    }

    async fn close(&self, issue: &IssueRef) -> PortResult<()> {
        let own = LocalTracker::own_account();
        self.tracker.close(issue, &own, At::now()).await.map_err(fault).map(drop)
    }

    async fn reopen(&self, issue: &IssueRef) -> PortResult<()> {
        let own = LocalTracker::own_account();
        self.tracker.reopen(issue, &own, At::now()).await.map_err(fault).map(drop)
    }
}

/// Splits the result of one read for all of `repos` into one for each; a failure is every repo's.
fn of_each<'a, T>(
    repos: impl Iterator<Item = &'a RepoName>,
    read: Result<BTreeMap<RepoName, Vec<T>>, TrackerError>,
) -> ByRepo<Vec<T>> {
    match read {
        Ok(mut of) => {
            repos.map(|repo| (repo.clone(), Ok(of.remove(repo).unwrap_or_default()))).collect()
        }
        Err(error) => {
            let why = fault(error).chain();
            repos.map(|repo| (repo.clone(), Err(PortError::transient(why.clone())))).collect()
        }
    }
}

fn fault(error: TrackerError) -> PortError {
    match &error {
        TrackerError::Store(store) => match store.kind() {
            StoreErrorKind::NotFound(_) => PortError::new(PortErrorKind::NotFound, error),
            _ => PortError::transient(error),
        },
        TrackerError::Invalid { .. } | TrackerError::NotTheirs { .. } => {
            PortError::permanent(error)
        }
    }
}
