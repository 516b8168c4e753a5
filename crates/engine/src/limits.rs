//! A tracker that said to come back later is asked nothing before then, whoever asks:
//! dispatch, comments, live runs.
//!
//! Kept in memory only: a control plane that starts asks once and is told again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use afk_core::ids::{Actor, At, IssueRef, RepoName, RunId};
use afk_core::issue::{BlockerState, Comment, Issue, Permission};
use afk_core::trouble;
use async_trait::async_trait;

use crate::ports::{Clock, IssueView, Labels, PortError, PortErrorKind, PortResult, Tracker};

/// What many repos answered, each for itself.
type Answers<T> = Vec<(RepoName, PortResult<T>)>;

/// A tracker whose rate limits are waited out.
pub(crate) struct Limited {
    tracker: Arc<dyn Tracker>,
    clock: Arc<dyn Clock>,
    until: Mutex<BTreeMap<RepoName, At>>,
}

impl Limited {
    pub(crate) fn new(tracker: Arc<dyn Tracker>, clock: Arc<dyn Clock>) -> Self {
        Self { tracker, clock, until: Mutex::default() }
    }

    /// An error while `repo` is to be left alone.
    fn may_ask(&self, repo: &RepoName) -> PortResult<()> {
        let mut limits = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = limits.get(repo).copied() else { return Ok(()) };
        if self.clock.now() >= until {
            limits.remove(repo);
            return Ok(());
        }
        let why = format!("the tracker of {repo} limits how often it is asked: again at {until}");
        Err(PortError::new(PortErrorKind::RateLimited { until }, why))
    }

    /// The same answer, and the limit noted that it tells of.
    fn noted<T>(&self, repo: &RepoName, answer: PortResult<T>) -> PortResult<T> {
        if let Some(reset) = answer.as_ref().err().and_then(PortError::reset) {
            let until = trouble::again(1, Some(reset), self.clock.now());
            let mut limits = self.until.lock().unwrap_or_else(PoisonError::into_inner);
            limits.insert(repo.clone(), until);
        }
        answer
    }

    async fn ask<T>(
        &self,
        repo: &RepoName,
        call: impl Future<Output = PortResult<T>> + Send,
    ) -> PortResult<T> {
        self.may_ask(repo)?;
        self.noted(repo, call.await)
    }

    /// Those of `repos` that may be asked, and the answers that the others get.
    fn parted<A, T>(&self, asked: Vec<A>, repo: fn(&A) -> &RepoName) -> (Vec<A>, Answers<T>) {
        let (mut open, mut limited) = (Vec::new(), Vec::new());
        for one in asked {
            match self.may_ask(repo(&one)) {
                Ok(()) => open.push(one),
                Err(error) => limited.push((repo(&one).clone(), Err(error))),
            }
        }
        (open, limited)
    }

    fn all_noted<T>(&self, answers: Answers<T>, mut limited: Answers<T>) -> Answers<T> {
        limited.extend(answers.into_iter().map(|(repo, answer)| {
            let answer = self.noted(&repo, answer);
            (repo, answer)
        }));
        limited
    }
}

#[async_trait]
impl Tracker for Limited {
    async fn ready(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        self.ask(repo, self.tracker.ready(repo, label)).await
    }

    async fn ready_everywhere(&self, repos: &[&RepoName], label: &str) -> Answers<Vec<Issue>> {
        let (open, limited) = self.parted(repos.to_vec(), |repo| *repo);
        self.all_noted(self.tracker.ready_everywhere(&open, label).await, limited)
    }

    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<IssueRef>> {
        self.ask(repo, self.tracker.labelled(repo, label)).await
    }

    async fn issue(&self, issue: &IssueRef) -> PortResult<IssueView> {
        self.ask(&issue.repo, self.tracker.issue(issue)).await
    }

    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission> {
        self.ask(repo, self.tracker.permission(repo, actor)).await
    }

    async fn blocker(&self, issue: &IssueRef) -> BlockerState {
        match self.may_ask(&issue.repo) {
            Ok(()) => self.tracker.blocker(issue).await,
            Err(_) => BlockerState::Unreadable,
        }
    }

    async fn own_account(&self, repo: &RepoName) -> PortResult<Actor> {
        self.ask(repo, self.tracker.own_account(repo)).await
    }

    async fn label(&self, issue: &IssueRef, labels: &Labels) -> PortResult<()> {
        self.ask(&issue.repo, self.tracker.label(issue, labels)).await
    }

    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>> {
        self.ask(&issue.repo, self.tracker.comments(issue)).await
    }

    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>> {
        self.ask(repo, self.tracker.comments_since(repo, since)).await
    }

    async fn comments_everywhere(
        &self,
        asked: &[(RepoName, At)],
    ) -> Answers<Vec<(IssueRef, Comment)>> {
        let (open, limited) = self.parted(asked.to_vec(), |(repo, _)| repo);
        self.all_noted(self.tracker.comments_everywhere(&open).await, limited)
    }

    async fn comment(&self, issue: &IssueRef, run: RunId, body: &str) -> PortResult<String> {
        self.ask(&issue.repo, self.tracker.comment(issue, run, body)).await
    }

    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()> {
        self.ask(&issue.repo, self.tracker.edit_comment(issue, id, body)).await
    }

    async fn close(&self, issue: &IssueRef) -> PortResult<()> {
        self.ask(&issue.repo, self.tracker.close(issue)).await
    }

    async fn reopen(&self, issue: &IssueRef) -> PortResult<()> {
        self.ask(&issue.repo, self.tracker.reopen(issue)).await
    }
}
