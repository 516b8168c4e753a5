//! Puts bounds on trackers: each call has a time limit, and a home that asked to be called later is
//! not called before then, whether for dispatch, comments or live runs.
//!
//! A rate limit belongs to the account, so it holds for all repos of one home. Limits are kept in
//! memory only: after a start, or after the clock was set back, the first call finds them again.
//!
//! Where one look at a home is ended by a limit, the next begins with the repos that it did not
//! reach, so that all are read in turn ([`Limited::in_turn`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use afk_core::ids::{Actor, At, IssueRef, RepoName, RunId};
use afk_core::issue::{BlockerState, Comment, Issue, Permission};
use afk_core::trouble;
use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use jiff::SignedDuration;

use crate::bounds::within;
use crate::ports::{
    ByRepo, Clock, IssueView, Labels, PortError, PortErrorKind, PortResult, Tracker,
};

/// Time limit of one call about one repo.
const CALL: SignedDuration = SignedDuration::from_secs(30);
/// Time limit of one call for many repos.
const EVERYWHERE: SignedDuration = SignedDuration::from_mins(2);
/// How many repos of a home are read together where its limit does not suffice for all: their
/// comments, then their ready issues.
const TOGETHER: usize = 50;
/// How many repos of one home are read at once, if each takes a call of its own.
const AT_ONCE: usize = 8;

/// A tracker whose rate limits are respected and whose every call has a time limit.
pub(crate) struct Limited {
    tracker: Arc<dyn Tracker>,
    clock: Arc<dyn Clock>,
    /// From when until when each home must not be called.
    closed: Mutex<BTreeMap<String, Range<At>>>,
    /// For each home of which a limit ended the newest look, the last repo that was read in it, if
    /// one was.
    reached: Mutex<BTreeMap<String, Option<RepoName>>>,
}

impl Limited {
    pub(crate) fn new(tracker: Arc<dyn Tracker>, clock: Arc<dyn Clock>) -> Self {
        Self { tracker, clock, closed: Mutex::default(), reached: Mutex::default() }
    }

    /// `repos`, which share a home, as they are to be read: all together or, if a limit ended the
    /// last look, a few at a time, beginning after the last repo that was read in it.
    pub(crate) fn in_turn(&self, repos: &BTreeSet<RepoName>) -> Vec<BTreeSet<RepoName>> {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let last = repos.first().and_then(|first| reached.get(&self.tracker.home(first)));
        let Some(last) = last else { return vec![repos.clone()] };
        let is_next = |repo: &RepoName| last.as_ref().is_none_or(|last| repo > last);
        let (first, then): (Vec<RepoName>, Vec<RepoName>) =
            repos.iter().cloned().partition(is_next);
        let parts = [first, then];
        let parts = parts.iter().flat_map(|some| some.chunks(TOGETHER));
        parts.map(|part| part.iter().cloned().collect()).collect()
    }

    /// Records the end of a look at `repos`, in which `last` was the last one that was read. It is
    /// where the look ended if their home must not be called now.
    pub(crate) fn note_look(&self, repos: &BTreeSet<RepoName>, last: Option<RepoName>) {
        let Some(one) = repos.first() else { return };
        let (home, limited) = (self.tracker.home(one), self.may_call(one).is_err());
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        if limited {
            let known = reached.entry(home).or_default();
            *known = last.or_else(|| known.take());
        } else if let Some(known) = reached.get(&home)
            && known.as_ref().is_none_or(|known| repos.contains(known))
        {
            reached.remove(&home);
        }
    }

    /// Ready issues of `repos`, which share a home.
    pub(crate) async fn ready_of(&self, repos: Vec<RepoName>, label: &str) -> ByRepo<Vec<Issue>> {
        let (open, limited) = self.parted(repos, |repo| repo);
        let everywhere = self.everywhere(self.tracker.ready_everywhere(&open, label)).await;
        let answers = match everywhere {
            Ok(Some(answers)) => self.all_noted(answers),
            Err(why) => open.into_iter().map(|repo| (repo, late(&why))).collect(),
            Ok(None) => {
                let one = |repo: RepoName| async move {
                    let issues = self.ready(&repo, label).await;
                    (repo, issues)
                };
                stream::iter(open).map(one).buffered(AT_ONCE).collect().await
            }
        };
        [answers, limited].into_iter().flatten().collect()
    }

    /// The comments of each of `repos`, which share a home, since the time given with it.
    pub(crate) async fn comments_of(
        &self,
        repos: Vec<(RepoName, At)>,
    ) -> ByRepo<Vec<(IssueRef, Comment)>> {
        let (open, limited) = self.parted(repos, |(repo, _)| repo);
        let everywhere = self.everywhere(self.tracker.comments_everywhere(&open)).await;
        let answers = match everywhere {
            Ok(Some(answers)) => self.all_noted(answers),
            Err(why) => open.into_iter().map(|(repo, _)| (repo, late(&why))).collect(),
            Ok(None) => {
                let one = |(repo, since): (RepoName, At)| async move {
                    let comments = self.comments_since(&repo, since).await;
                    (repo, comments)
                };
                stream::iter(open).map(one).buffered(AT_ONCE).collect().await
            }
        };
        [answers, limited].into_iter().flatten().collect()
    }

    /// One call for many repos, within its time limit, or why it failed.
    async fn everywhere<T>(
        &self,
        call: impl Future<Output = Option<T>> + Send,
    ) -> Result<Option<T>, String> {
        let call = async { PortResult::Ok(call.await) };
        let answer = within(&*self.clock, EVERYWHERE, "the tracker", call).await;
        answer.map_err(|error| error.chain())
    }

    /// Those of `repos`, which share a home, that may be read now, and errors for the others.
    fn parted<R, T>(&self, repos: Vec<R>, name: fn(&R) -> &RepoName) -> (Vec<R>, ByRepo<T>) {
        if repos.first().is_none_or(|first| self.may_call(name(first)).is_ok()) {
            return (repos, Vec::new());
        }
        let (mut open, mut limited) = (Vec::new(), Vec::new());
        for one in repos {
            match self.may_call(name(&one)) {
                Ok(()) => open.push(one),
                Err(error) => limited.push((name(&one).clone(), Err(error))),
            }
        }
        (open, limited)
    }

    fn all_noted<T>(&self, answers: ByRepo<T>) -> ByRepo<T> {
        let noted = |(repo, answer)| {
            let answer = self.noted(&repo, answer);
            (repo, answer)
        };
        answers.into_iter().map(noted).collect()
    }

    /// An error while the home of `repo` must not be called.
    pub(crate) fn may_call(&self, repo: &RepoName) -> PortResult<()> {
        let home = self.tracker.home(repo);
        let mut limits = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(closed) = limits.get(&home) else { return Ok(()) };
        if !closed.contains(&self.clock.now()) {
            limits.remove(&home);
            return Ok(());
        }
        let until = closed.end;
        let why = format!("the tracker of {repo} limits how often it is called: again at {until}");
        Err(PortError::new(PortErrorKind::RateLimited { until }, why))
    }

    /// The same answer, after recording its rate limit, if any.
    fn noted<T>(&self, repo: &RepoName, answer: PortResult<T>) -> PortResult<T> {
        if let Some(reset) = answer.as_ref().err().and_then(PortError::reset) {
            let now = self.clock.now();
            let until = trouble::retry_at(1, Some(reset), now);
            let mut limits = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
            let home = self.tracker.home(repo);
            // Of several calls that were on their way, the one that must wait longest counts.
            let known = limits.get(&home).filter(|closed| closed.contains(&now));
            let until = known.map_or(until, |known| until.max(known.end));
            limits.insert(home, now..until);
        }
        answer
    }

    /// One call about `repo`, if it may be made now.
    async fn call<T>(
        &self,
        repo: &RepoName,
        call: impl Future<Output = PortResult<T>> + Send,
    ) -> PortResult<T> {
        self.may_call(repo)?;
        let what = format!("the tracker of {repo}");
        let answer = within(&*self.clock, CALL, what, call).await;
        self.noted(repo, answer)
    }
}

/// The answer for a repo whose home took too long.
fn late<T>(why: &str) -> PortResult<T> {
    Err(PortError::transient(why.to_owned()))
}

#[async_trait]
impl Tracker for Limited {
    fn home(&self, repo: &RepoName) -> String {
        self.tracker.home(repo)
    }

    async fn ready(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        self.call(repo, self.tracker.ready(repo, label)).await
    }

    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<IssueRef>> {
        self.call(repo, self.tracker.labelled(repo, label)).await
    }

    fn forget(&self, issue: &IssueRef) {
        self.tracker.forget(issue);
    }

    async fn issue(&self, issue: &IssueRef) -> PortResult<IssueView> {
        self.call(&issue.repo, self.tracker.issue(issue)).await
    }

    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission> {
        self.call(repo, self.tracker.permission(repo, actor)).await
    }

    async fn blocker(&self, repo: &RepoName, issue: &IssueRef) -> PortResult<BlockerState> {
        self.call(repo, self.tracker.blocker(repo, issue)).await
    }

    async fn own_account(&self, repo: &RepoName) -> PortResult<Actor> {
        self.call(repo, self.tracker.own_account(repo)).await
    }

    async fn label(&self, issue: &IssueRef, labels: &Labels) -> PortResult<()> {
        self.call(&issue.repo, self.tracker.label(issue, labels)).await
    }

    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>> {
        self.call(&issue.repo, self.tracker.comments(issue)).await
    }

    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>> {
        self.call(repo, self.tracker.comments_since(repo, since)).await
    }

    async fn comment(&self, issue: &IssueRef, run: RunId, body: &str) -> PortResult<String> {
        self.call(&issue.repo, self.tracker.comment(issue, run, body)).await
    }

    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()> {
        self.call(&issue.repo, self.tracker.edit_comment(issue, id, body)).await
    }

    async fn close(&self, issue: &IssueRef) -> PortResult<()> {
        self.call(&issue.repo, self.tracker.close(issue)).await
    }

    async fn reopen(&self, issue: &IssueRef) -> PortResult<()> {
        self.call(&issue.repo, self.tracker.reopen(issue)).await
    }
}
