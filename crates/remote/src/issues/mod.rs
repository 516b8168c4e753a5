//! The issues of the repos at one forge, as the loop's tracker.
//!
//! [`Issues`] is the same for every forge. It answers from a cache of each repo ([`cache`]) that one
//! request, the probe, keeps up to date, so that a repo in which nothing happens costs that request
//! and nothing else. What the probe shows to have changed is read once from the forge
//! ([`IssuesApi`]).

mod api;
mod cache;
mod limits;
mod repo;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use afk_core::comment::find;
use afk_core::ids::{Actor, At, IssueRef, RepoName, RunId};
use afk_core::issue::{BlockerState, Comment, Issue, Permission};
use afk_engine::ports::{
    Clock, IssueView, Labels, Notes, PortError, PortErrorKind, PortResult, Tracker,
};
use async_trait::async_trait;
use jiff::SignedDuration;

use crate::forges::RepoNames;
pub(crate) use api::IssuesApi;
pub(crate) use cache::{IssueCache, ListedIssue, Page, View};
use limits::Shared;
use repo::{FOR_A_PASS, FOR_A_POLL, RepoState};

/// How long a whole list is believed before it is read again: renaming a label updates no issue, so
/// that no probe shows it.
const SWEPT: SignedDuration = SignedDuration::from_hours(6);
/// How long details of an issue are believed although no probe shows a change: removing a
/// dependency may update neither of its two issues, and a deleted blocker is in no list.
const VIEWED: SignedDuration = SignedDuration::from_mins(15);
/// How long after an issue's last update the next one is certain to have another time: one second
/// for the resolution of the forge's times, and one for the error of our estimate of its clock.
const SETTLED: SignedDuration = SignedDuration::from_secs(2);
/// How long a permission that was read is believed.
const PERMISSION_HOLDS: SignedDuration = SignedDuration::from_mins(5);

/// The issues of the repos at one forge.
pub(crate) struct Issues {
    /// The forge's name in the configuration.
    name: String,
    forge: Arc<dyn IssuesApi>,
    clock: Arc<dyn Clock>,
    notes: Arc<dyn Notes>,
    places: RepoNames,
    shared: Arc<Shared>,
    repos: Mutex<BTreeMap<RepoName, Arc<RepoState>>>,
    permissions: Mutex<HashMap<(RepoName, String), (Permission, At)>>,
    own: tokio::sync::OnceCell<Actor>,
}

impl Issues {
    /// Serves the issues of `forge`, which is named `name` in the configuration.
    pub(crate) fn new(
        name: &str,
        forge: Arc<dyn IssuesApi>,
        clock: Arc<dyn Clock>,
        notes: Arc<dyn Notes>,
        places: RepoNames,
    ) -> Self {
        let shared = Arc::new(Shared::new(name, notes.clone(), clock.clone()));
        forge.account().set_limit_observer(shared.clone());
        Self {
            name: name.to_owned(),
            forge,
            clock,
            notes,
            places,
            shared,
            repos: Mutex::default(),
            permissions: Mutex::default(),
            own: tokio::sync::OnceCell::new(),
        }
    }

    /// Notes a webhook of `repo`: what was probed before it is not believed any more.
    pub(crate) fn woken(&self, repo: &RepoName) {
        self.repo(repo).wake(self.now());
    }

    /// Returns the state kept about `repo`, which is empty at first.
    fn repo(&self, repo: &RepoName) -> Arc<RepoState> {
        let mut repos = self.repos.lock().unwrap_or_else(PoisonError::into_inner);
        repos.entry(repo.clone()).or_default().clone()
    }

    fn now(&self) -> At {
        self.clock.now()
    }

    /// Returns the open issues with `label`, as the newest probe shows them.
    async fn list(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        let state = self.repo(repo);
        let mut kept = self.seen(repo, &state, FOR_A_POLL).await?;
        let now = self.now();
        if let Some(list) = kept.seen.list(label, earlier(now, SWEPT)) {
            return Ok(list);
        }
        let mut issues = self.forge.labelled(repo, label).await?;
        issues.retain(|issue| issue.open && issue.has(label));
        kept.seen.swept(label, issues.clone(), now);
        self.note(repo, &kept).await?;
        Ok(issues)
    }

    /// Drops what was read of `issue` after a write to it, and passes `result` on: even a write
    /// that failed may have changed the issue.
    async fn written<T>(&self, issue: &IssueRef, result: PortResult<T>) -> PortResult<T> {
        self.repo(&issue.repo).kept().await.seen.forget(issue.number);
        result
    }
}

#[async_trait]
impl Tracker for Issues {
    fn home(&self, _repo: &RepoName) -> String {
        self.forge.account().home().to_owned()
    }

    async fn ready(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        self.list(repo, label).await
    }

    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<IssueRef>> {
        let issues = self.list(repo, label).await?;
        Ok(issues.into_iter().map(|issue| issue.issue).collect())
    }

    async fn issue(&self, issue: &IssueRef) -> PortResult<IssueView> {
        let state = self.repo(&issue.repo);
        let oldest = earlier(self.now(), VIEWED);
        let asked = self.forge.account().server_time();
        let (view, before) = {
            let kept = self.seen(&issue.repo, &state, FOR_A_PASS).await?;
            let view = kept.seen.view(issue.number, oldest).cloned();
            (view, kept.seen.entry(issue.number))
        };
        let view = if let Some(view) = view {
            view
        } else {
            let view = self.forge.view(issue).await;
            let mut kept = state.kept().await;
            let is_gone = view.as_ref().is_err_and(|error| error.kind == PortErrorKind::NotFound);
            if is_gone && kept.seen.gone(issue.number) {
                // If this fails, only the next process may still list the issue for some hours.
                let _ = self.note(&issue.repo, &kept).await;
            }
            let view = view?;
            if kept.seen.is_ahead_of(issue.number, view.updated) {
                let why = format!("{issue} was answered older than the list of issues shows it");
                return Err(PortError::transient(why));
            }
            // A change that was probed meanwhile may or may not be in the view; right after a
            // webhook, parts of it may come from a replica of the forge that is behind.
            let unchanged = kept.seen.entry(issue.number) == before;
            if unchanged && !state.is_woken(self.now()) && has_settled(view.updated, asked) {
                kept.seen.viewed(view.clone());
                self.note(&issue.repo, &kept).await?;
            }
            view
        };
        Ok(IssueView { issue: view.issue, events: view.events, native_blockers: view.blockers })
    }

    fn forget(&self, issue: &IssueRef) {
        self.repo(&issue.repo).forget(issue.number);
    }

    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission> {
        if actor.bot {
            // A bot has no permission at a forge: one that is trusted is listed by id.
            return Ok(Permission::None);
        }
        let key = (repo.clone(), actor.id.clone());
        let now = self.now();
        let known = {
            let known = self.permissions.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(&key).copied()
        };
        if let Some((permission, at)) = known
            && (at..later(at, PERMISSION_HOLDS)).contains(&now)
        {
            return Ok(permission);
        }
        let permission = self.forge.permission(repo, actor).await?;
        let mut known = self.permissions.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, at)| now.duration_since(*at) < PERMISSION_HOLDS);
        known.insert(key, (permission, now));
        Ok(permission)
    }

    async fn blocker(&self, _repo: &RepoName, issue: &IssueRef) -> PortResult<BlockerState> {
        let state = self.repo(&issue.repo);
        let (open, before) = {
            let kept = self.seen(&issue.repo, &state, FOR_A_POLL).await?;
            let oldest = earlier(self.now(), VIEWED);
            (kept.seen.open(issue.number, oldest), kept.seen.entry(issue.number))
        };
        let at = self.now();
        let open = if let Some(open) = open {
            open
        } else {
            let open = self.forge.is_open(issue).await?;
            let mut kept = state.kept().await;
            if kept.seen.entry(issue.number) == before {
                kept.seen.known_open(issue.number, open, at);
                // Without the note, the next process asks once more, and that is all.
                let _ = self.note(&issue.repo, &kept).await;
            }
            open
        };
        Ok(if open { BlockerState::Open } else { BlockerState::Closed })
    }

    async fn own_account(&self, _repo: &RepoName) -> PortResult<Actor> {
        self.own.get_or_try_init(|| self.forge.own_account()).await.cloned()
    }

    async fn label(&self, issue: &IssueRef, labels: &Labels) -> PortResult<()> {
        if !labels.add.is_empty() {
            let added = self.forge.add_labels(issue, &labels.add).await;
            self.written(issue, added).await?;
        }
        for label in &labels.remove {
            let removed = self.forge.remove_label(issue, label).await;
            self.written(issue, removed).await?;
            self.repo(&issue.repo).kept().await.seen.unlabelled(issue.number, label);
        }
        Ok(())
    }

    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>> {
        let state = self.repo(&issue.repo);
        let asked = self.forge.account().server_time();
        let (before, updated) = {
            let kept = self.seen(&issue.repo, &state, FOR_A_PASS).await?;
            let oldest = earlier(self.now(), VIEWED);
            if let Some(comments) = kept.seen.comments(issue.number, oldest) {
                return Ok(comments.to_vec());
            }
            (kept.seen.entry(issue.number), kept.seen.updated(issue.number))
        };
        let at = self.now();
        let comments = self.forge.comments(issue).await?;
        let mut kept = state.kept().await;
        let settled = updated.is_none_or(|updated| has_settled(updated, asked));
        if settled && kept.seen.entry(issue.number) == before {
            kept.seen.commented(issue.number, comments.clone(), at);
            self.note(&issue.repo, &kept).await?;
        }
        Ok(comments)
    }

    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>> {
        // Forges date comments in whole seconds: one of the same second as `since` counts.
        let since = At::from_second(since.as_second()).unwrap_or(since);
        let state = self.repo(repo);
        let mut kept = self.seen(repo, &state, FOR_A_POLL).await?;
        let at = self.now();
        if let Some(known) = kept.seen.comments_since(since, earlier(at, VIEWED)) {
            return Ok(known);
        }
        let mut comments = self.forge.comments_since(repo, since).await?;
        // Forges filter by the last change, so that older comments that were edited come, too.
        comments.retain(|(_, comment)| comment.at >= since);
        comments.sort_by_key(|(_, comment)| comment.at);
        kept.seen.commented_since(since, comments.clone(), at);
        self.note(repo, &kept).await?;
        Ok(comments)
    }

    async fn comment(&self, issue: &IssueRef, run: RunId, body: &str) -> PortResult<String> {
        let own = self.own_account(&issue.repo).await?;
        // Read live and to the last page: a second comment of the run would stay there for good.
        if let Some(there) = find(&self.forge.comments(issue).await?, run, &own.id) {
            return Ok(there.id.clone());
        }
        let posted = self.forge.post_comment(issue, body).await;
        self.written(issue, posted).await
    }

    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()> {
        let edited = self.forge.edit_comment(issue, id, body).await;
        self.written(issue, edited).await
    }

    async fn close(&self, issue: &IssueRef) -> PortResult<()> {
        let closed = self.forge.set_open(issue, false).await;
        self.written(issue, closed).await
    }

    async fn reopen(&self, issue: &IssueRef) -> PortResult<()> {
        let opened = self.forge.set_open(issue, true).await;
        self.written(issue, opened).await
    }
}

/// Whether any change after `asked` (by the forge's clock) will differ in time from the update at
/// `updated`, so that an answer to what was asked then may be kept. Forges date updates in whole
/// seconds: a label that is removed and added again within the second of the last update leaves the
/// issue's entry as it was.
fn has_settled(updated: At, asked: At) -> bool {
    asked.duration_since(updated) >= SETTLED
}

fn earlier(now: At, by: SignedDuration) -> At {
    now.checked_sub(by).unwrap_or(At::MIN)
}

fn later(at: At, by: SignedDuration) -> At {
    at.checked_add(by).unwrap_or(At::MAX)
}
