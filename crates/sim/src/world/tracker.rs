//! Issues, their events, comments and labels. An event is written only when something changed; the
//! loop edits only its own comments.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::comment::{ANSWERS, SETTLES};
use afk_core::ids::{Actor, At, IssueRef, RepoName};
use afk_core::issue::{
    BlockerState, Comment, Issue, IssueChange, IssueEvent, Permission, same_label,
};
use afk_engine::ports::{IssueView, PortError, PortErrorKind, PortResult};
use jiff::SignedDuration;

use super::World;
use super::limits::{Limits, TrackerCall};

/// How far at most a tracker that answers from an old copy is behind with comments.
const LAG: SignedDuration = SignedDuration::from_secs(SETTLES.as_secs() - ANSWERS.as_secs());

/// One issue with its history.
#[derive(Debug, Clone)]
pub struct IssueRecord {
    /// The issue as it is now.
    pub issue: Issue,
    /// Who filed it.
    pub author: Actor,
    /// When it was filed.
    pub created: At,
    /// When it or one of its comments last changed.
    pub updated: At,
    /// Its events, oldest first.
    pub events: Vec<IssueEvent>,
    /// The tracker's own dependency relations.
    pub blockers: Vec<IssueRef>,
    /// Its comments, oldest first.
    pub comments: Vec<Comment>,
}

/// All issues, and who may do what.
#[derive(Debug, Clone, Default)]
pub struct TrackerWorld {
    /// The issues.
    pub issues: BTreeMap<IssueRef, IssueRecord>,
    /// Permissions by account id, on every repo; others have none.
    pub permissions: BTreeMap<String, Permission>,
    /// Accounts whose permission cannot be read.
    pub unknown: BTreeSet<String>,
    /// Accounts whose permission our account may not read.
    pub secret: BTreeSet<String>,
    /// Issues that somebody deleted, so that reading them is no senseless call.
    pub deleted: BTreeSet<IssueRef>,
    /// Issues that cannot be read until a person repairs something.
    pub unreadable: BTreeSet<IssueRef>,
    /// Issues with more comments than are read: listing them fails.
    pub talkative: BTreeSet<IssueRef>,
    /// Repos whose tracker fails every call with a transient error.
    pub mute: BTreeSet<RepoName>,
    /// Repos whose tracker does not even fail: calls about them are never answered.
    pub hanging: BTreeSet<RepoName>,
    /// Names of the accounts that repos share; a repo that is not in here has one of its own.
    pub homes: BTreeMap<RepoName, String>,
    /// Repos whose account is refused until a time, and is told that time.
    pub limited: BTreeMap<RepoName, At>,
    /// Other limits of accounts.
    pub limits: Limits,
    /// Every call about a repo that reached its tracker, oldest first.
    pub asked: Vec<TrackerCall>,
    /// The issues as of the last [`World::replicate`], for stale reads.
    pub replica: BTreeMap<IssueRef, IssueRecord>,
    /// How far the trackers' clock is ahead of ours.
    pub skew: SignedDuration,
    /// Whether lists are answered in reverse, and every entry twice.
    pub(crate) twice: bool,
    /// How each label of a repo is spelled, by repo and name in small letters.
    labels: BTreeMap<(RepoName, String), String>,
    comments: u64,
}

impl TrackerWorld {
    /// The label `name` of `repo`, in the spelling that it was made with; makes it if it is new.
    pub fn make_label(&mut self, repo: &RepoName, name: &str) -> String {
        let key = (repo.clone(), name.to_ascii_lowercase());
        self.labels.entry(key).or_insert_with(|| name.to_owned()).clone()
    }

    /// The name of the account that reads `repo`.
    pub fn home(&self, repo: &RepoName) -> String {
        self.homes.get(repo).cloned().unwrap_or_else(|| repo.to_string())
    }
}

/// A person's account.
pub fn person(id: &str) -> Actor {
    Actor { id: id.to_owned(), login: id.to_owned(), bot: false }
}

/// The account that the loop writes as.
pub fn own() -> Actor {
    Actor { bot: true, ..person("afk") }
}

impl World {
    /// Files an issue as `by`, who then puts `labels` on it.
    pub fn file(&mut self, name: &str, body: &str, labels: &[&str], by: &str) -> IssueRef {
        let issue: IssueRef = match name.parse() {
            Ok(issue) => issue,
            Err(error) => panic!("a test names a bad issue: {error}"),
        };
        let at = self.tracker_now();
        let record = IssueRecord {
            author: person(by),
            created: at,
            updated: at,
            issue: Issue {
                issue: issue.clone(),
                title: format!("Work on {name}"),
                body: body.to_owned(),
                labels: Vec::new(),
                open: true,
            },
            events: Vec::new(),
            blockers: Vec::new(),
            comments: Vec::new(),
        };
        self.tracker.issues.insert(issue.clone(), record);
        for label in labels {
            self.set_label(&issue, label, true, &person(by));
        }
        issue
    }

    /// Adds or removes a label, however its name is spelled; returns whether that changed anything.
    pub fn set_label(&mut self, issue: &IssueRef, label: &str, on: bool, by: &Actor) -> bool {
        let at = self.tracker_now();
        let label = self.tracker.make_label(&issue.repo, label);
        let Some(record) = self.tracker.issues.get_mut(issue) else { return false };
        if record.has(&label) == on {
            return false;
        }
        let what = if on {
            record.issue.labels.push(label.clone());
            IssueChange::Labeled { label }
        } else {
            record.issue.labels.retain(|other| !same_label(other, &label));
            IssueChange::Unlabeled { label }
        };
        record.happened(at, by, what);
        true
    }

    /// Opens or closes an issue; returns whether that changed anything.
    pub fn set_open(&mut self, issue: &IssueRef, open: bool, by: &Actor) -> bool {
        let at = self.tracker_now();
        let Some(record) = self.tracker.issues.get_mut(issue) else { return false };
        if record.issue.open == open {
            return false;
        }
        record.issue.open = open;
        let what = if open { IssueChange::Reopened } else { IssueChange::Closed };
        record.happened(at, by, what);
        true
    }

    /// Replaces an issue's body.
    pub fn set_body(&mut self, issue: &IssueRef, body: &str, by: &Actor) {
        let at = self.tracker_now();
        if let Some(record) = self.tracker.issues.get_mut(issue) {
            body.clone_into(&mut record.issue.body);
            record.happened(at, by, IssueChange::Edited);
        }
    }

    /// Replaces an issue's title.
    pub fn set_title(&mut self, issue: &IssueRef, title: &str, by: &Actor) {
        let at = self.tracker_now();
        if let Some(record) = self.tracker.issues.get_mut(issue) {
            title.clone_into(&mut record.issue.title);
            record.happened(at, by, IssueChange::Renamed);
        }
    }

    /// Renames a label of `repo`, which is no event of the issues that carry it.
    pub fn rename_label(&mut self, repo: &RepoName, from: &str, to: &str) {
        self.tracker.labels.remove(&(repo.clone(), from.to_ascii_lowercase()));
        let to = self.tracker.make_label(repo, to);
        for (issue, record) in &mut self.tracker.issues {
            if issue.repo == *repo {
                let labels = record.issue.labels.iter_mut().filter(|label| same_label(label, from));
                labels.for_each(|label| label.clone_from(&to));
            }
        }
    }

    /// Deletes a label of `repo`: every issue loses it.
    pub fn delete_label(&mut self, repo: &RepoName, label: &str, by: &Actor) {
        let of_repo = self.tracker.issues.keys().filter(|issue| issue.repo == *repo);
        for issue in of_repo.cloned().collect::<Vec<_>>() {
            self.set_label(&issue, label, false, by);
        }
        self.tracker.labels.remove(&(repo.clone(), label.to_ascii_lowercase()));
    }

    /// Brings the old copies of issues and turns up to date.
    pub fn replicate(&mut self) {
        self.tracker.replica.clone_from(&self.tracker.issues);
        self.agents.replica.clone_from(&self.agents.turns);
    }

    /// Swaps issues and turns with their old copies, or back. Before that, the copy gets every
    /// comment that it may not lack any more.
    pub(crate) fn swap_stale(&mut self) {
        let settled = self.tracker_now().checked_sub(LAG).unwrap_or(self.now);
        for (issue, known) in &self.tracker.issues {
            let Some(late) = self.tracker.replica.get_mut(issue) else { continue };
            // A loop cannot tell a comment that is shown even later from one that does not
            // exist.
            let missing = known.comments.iter().filter(|comment| {
                comment.at <= settled && !late.comments.iter().any(|one| one.id == comment.id)
            });
            late.comments.extend(missing.cloned().collect::<Vec<_>>());
        }
        std::mem::swap(&mut self.tracker.issues, &mut self.tracker.replica);
        std::mem::swap(&mut self.agents.turns, &mut self.agents.replica);
    }

    /// Prepares a list for its answer, see [`TrackerWorld::twice`].
    fn listed<T: Clone>(&self, mut all: Vec<T>) -> Vec<T> {
        if self.tracker.twice {
            all.reverse();
            all.extend(all.clone());
        }
        all
    }

    pub(crate) fn issues_of(&mut self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        self.tracker_answers(repo)?;
        let carries = |record: &&IssueRecord| {
            let issue = &record.issue;
            issue.issue.repo == *repo && issue.open && issue.has(label)
        };
        let found = self.tracker.issues.values().filter(carries).map(|r| r.issue.clone());
        Ok(self.listed(found.collect()))
    }

    pub(crate) fn view(&mut self, issue: &IssueRef) -> PortResult<IssueView> {
        let record = self.record(issue)?;
        Ok(IssueView {
            issue: record.issue.clone(),
            events: record.events.clone(),
            native_blockers: record.blockers.clone(),
        })
    }

    pub(crate) fn blocker_state(&mut self, issue: &IssueRef) -> PortResult<BlockerState> {
        self.tracker_answers(&issue.repo)?;
        Ok(match self.tracker.issues.get(issue) {
            Some(record) if record.issue.open => BlockerState::Open,
            Some(_) => BlockerState::Closed,
            None => {
                let why = format!("there is no issue {issue}");
                return Err(PortError::new(PortErrorKind::NotFound, why));
            }
        })
    }

    pub(crate) fn permission_of(
        &mut self,
        repo: &RepoName,
        actor: &Actor,
    ) -> PortResult<Permission> {
        self.tracker_answers(repo)?;
        if self.tracker.unknown.contains(&actor.id) {
            return Err(PortError::transient(format!("the permission of {} is hidden", actor.id)));
        }
        if self.tracker.secret.contains(&actor.id) {
            let why = format!("only administrators may read the permission of {}", actor.id);
            return Err(PortError::new(PortErrorKind::Auth, why));
        }
        Ok(self.tracker.permissions.get(&actor.id).copied().unwrap_or(Permission::None))
    }

    pub(crate) fn comments_of(&mut self, issue: &IssueRef) -> PortResult<Vec<Comment>> {
        let all = self.record(issue)?.comments.clone();
        if self.tracker.talkative.contains(issue) {
            return Err(PortError::permanent(format!("{issue} has more comments than are read")));
        }
        Ok(self.listed(all))
    }

    pub(crate) fn comments_since(
        &mut self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>> {
        self.tracker_answers(repo)?;
        let records = self.tracker.issues.iter().filter(|(issue, _)| issue.repo == *repo);
        let all = records.flat_map(|(issue, record)| {
            record.comments.iter().map(|comment| (issue.clone(), comment.clone()))
        });
        let mut all: Vec<_> = all.filter(|(_, comment)| comment.at >= since).collect();
        all.sort_by_key(|(_, comment)| comment.at);
        Ok(self.listed(all))
    }

    /// Writes a comment as `by`.
    pub fn write_comment(&mut self, issue: &IssueRef, body: &str, by: &Actor) {
        let written = self.add_comment(issue, body, by);
        assert!(written.is_ok(), "a test comments where nobody can: {written:?}");
    }

    /// Adds a comment by `by`, and returns its id.
    pub fn add_comment(&mut self, issue: &IssueRef, body: &str, by: &Actor) -> PortResult<String> {
        self.record(issue)?;
        self.tracker.comments += 1;
        let id = self.tracker.comments.to_string();
        let comment = Comment {
            id: id.clone(),
            author: Some(by.clone()),
            at: self.tracker_now(),
            body: body.to_owned(),
            edited: false,
        };
        let record = self.record(issue)?;
        record.updated = comment.at;
        record.comments.push(comment);
        Ok(id)
    }

    /// Changes a comment of the loop's own account; nobody may change another's.
    pub fn change_comment(&mut self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()> {
        let at = self.tracker_now();
        let record = self.record(issue)?;
        match record.comments.iter_mut().find(|comment| comment.id == id) {
            Some(comment) if comment.author.as_ref() == Some(&own()) => {
                body.clone_into(&mut comment.body);
                comment.edited |= at > comment.at;
                record.updated = at;
                Ok(())
            }
            Some(_) => Err(self.complain(format!("comment {id} on {issue} is somebody else's"))),
            None => Err(self.complain(format!("comment {id} on {issue} does not exist"))),
        }
    }

    /// Changes the text of a comment, whoever wrote it, as people who may write to the repo can on
    /// forges.
    pub fn rewrite_comment(&mut self, issue: &IssueRef, old: &str, new: &str) {
        let record = self.tracker.issues.get_mut(issue);
        let mut comments = record.into_iter().flat_map(|record| record.comments.iter_mut());
        let Some(comment) = comments.find(|comment| comment.body == old) else {
            panic!("a test edits a comment that is not on {issue}: {old}");
        };
        new.clone_into(&mut comment.body);
        comment.edited = true;
    }

    /// Deletes an issue, as people can on some trackers.
    pub fn delete_issue(&mut self, issue: &IssueRef) {
        self.tracker.issues.remove(issue);
        self.tracker.deleted.insert(issue.clone());
    }

    /// The issue, if it exists, can be read, and its tracker answers.
    pub(crate) fn record(&mut self, issue: &IssueRef) -> PortResult<&mut IssueRecord> {
        self.tracker_answers(&issue.repo)?;
        if self.tracker.unreadable.contains(issue) {
            return Err(PortError::permanent(format!("{issue} is larger than what is read")));
        }
        if !self.tracker.issues.contains_key(issue) {
            let what = format!("{issue} does not exist");
            if !self.tracker.deleted.contains(issue) {
                self.wrong.push(what.clone());
            }
            return Err(PortError::new(PortErrorKind::NotFound, what));
        }
        let gone = || PortError::new(PortErrorKind::NotFound, "no such issue");
        self.tracker.issues.get_mut(issue).ok_or_else(gone)
    }

    /// The time of the trackers' clock.
    pub fn tracker_now(&self) -> At {
        self.now.checked_add(self.tracker.skew).unwrap_or(self.now)
    }

    fn tracker_answers(&mut self, repo: &RepoName) -> PortResult<()> {
        self.within_limits(repo)?;
        if self.tracker.mute.contains(repo) {
            return Err(PortError::transient(format!("the tracker of {repo} does not answer")));
        }
        Ok(())
    }
}

impl IssueRecord {
    fn happened(&mut self, at: At, by: &Actor, what: IssueChange) {
        self.updated = at;
        self.events.push(IssueEvent { at, actor: Some(by.clone()), what });
    }

    /// Whether it carries `label`.
    pub fn has(&self, label: &str) -> bool {
        self.issue.has(label)
    }
}
